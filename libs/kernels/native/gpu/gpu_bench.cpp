// weft-gpu-bench: what the CUDA device does with a model of Llama 3.1 8B's dimensions. Weights are random: no checkpoint is
// needed, nothing but this program, the kernels and a GPU. See `usage`.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "gpu/parts.h"

namespace weft {
namespace gpu {
namespace {

constexpr char kUsage[] =
    "usage: weft-gpu-bench [OPTIONS]\n"
    "\n"
    "Times a CUDA device beside what its card can do at all, and prints every figure as it comes.\n"
    "\n"
    "  --out FOLDER       where gpu-bench.json and gpu-bench.md go; the current one by default\n"
    "  --parts A,B,…      ceilings, maps, decode, prefill, attention, copies, launches, ops; all by default\n"
    "  --seconds N        of all parts together; 300 by default\n"
    "  --quick            fewer and shorter measurements\n"
    "  --layers N         of the model\n"
    "  --tiny             a model of a few values, for devices that are emulated\n"
    "  --deterministic    a row has the same bits in every batch\n"
    "  --own-gemm         no linear map by cuBLASLt\n"
    "  --cublaslt FILE    where cuBLASLt is, if the loader does not find it; may be given again\n"
    "  --device N         which GPU; 0 by default\n"
    "  --module FILE      kernels; weft-cuda.fatbin beside this program by default\n"
    "  --driver FILE      libcuda.so.1 by default\n"
    "\n"
    "Exits with 1 when a part failed.\n";

struct Part {
  const char *name, *title;
  double limit;                          // seconds
  void (*work)(const Bench&, Sink&);
};
constexpr Part kParts[] = {
    {"ceilings", "What the card can do", 60, benchCeilings},
    {"maps", "Linear maps", 60, benchMaps},
    {"decode", "Decoding: one token for each sequence", 120, benchDecode},
    {"prefill", "Prompts", 90, benchPrefill},
    {"attention", "Attention alone", 60, benchAttention},
    {"copies", "Pages from the host", 60, benchCopies},
    {"launches", "Launches", 30, benchLaunches},
    {"ops", "A decode step with as many adapters as sequences, op by op", 60, benchOps},
};

struct Options {
  Bench bench;
  std::string out = ".", parts;
  double seconds = 300;
};

[[noreturn]] void misuse(const std::string& what) {
  fprintf(stderr, "weft-gpu-bench: %s\n\n%s", what.c_str(), kUsage);
  exit(2);
}

bool isPart(const std::string& name) {
  return std::any_of(std::begin(kParts), std::end(kParts), [&](const Part& part) { return name == part.name; });
}

bool wanted(const std::string& parts, const std::string& name) {
  return parts.empty() || ("," + parts + ",").find("," + name + ",") != std::string::npos;
}

Options parse(int argc, char** argv) {
  Options options;
  const std::string program = argv[0];
  options.bench.device.module = program.substr(0, program.rfind('/') + 1) + "weft-cuda.fatbin";
  uint32_t layers = 0;
  bool quick = false, tiny = false;
  for (int i = 1; i < argc; i++) {
    const std::string arg = argv[i];
    const auto next = [&]() -> std::string {
      if (i + 1 == argc) misuse(arg + " needs a value");
      return argv[++i];
    };
    const auto count = [&](int most) {
      const std::string text = next();
      const int value = atoi(text.c_str());
      const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
      if (!digits || value > most) misuse(arg + " " + text + ": no number that it takes");
      return value;
    };
    if (arg == "--help") { fputs(kUsage, stdout); exit(0); }
    else if (arg == "--out") options.out = next();
    else if (arg == "--parts") options.parts = next();
    else if (arg == "--seconds") options.seconds = count(100000);
    else if (arg == "--quick") quick = true;
    else if (arg == "--layers") layers = static_cast<uint32_t>(count(1000));
    else if (arg == "--tiny") tiny = true;
    else if (arg == "--deterministic") options.bench.device.deterministic = true;
    else if (arg == "--own-gemm") options.bench.device.ownGemm = true;
    else if (arg == "--cublaslt") options.bench.device.cublasLt.push_back(next());
    else if (arg == "--device") options.bench.device.ordinal = count(1000);
    else if (arg == "--module") options.bench.device.module = next();
    else if (arg == "--driver") options.bench.device.driver = next();
    else misuse("there is no option " + arg);
  }
  for (size_t begin = 0, end; begin < options.parts.size(); begin = end + 1) {
    end = std::min(options.parts.find(',', begin), options.parts.size());
    if (!isPart(options.parts.substr(begin, end - begin))) misuse("there is no part " + options.parts.substr(begin, end - begin));
  }
  options.bench.sizes = tiny ? Sizes::tiny() : quick ? Sizes::quick() : Sizes();
  if (layers) options.bench.sizes.model.layers = layers;
  return options;
}

int run(int argc, char** argv) {
  Options options = parse(argc, argv);
  mkdir(options.out.c_str(), 0777);
  const ModelShape& model = options.bench.sizes.model;
  const std::string about =
      format("%s: %u layers, hidden %u, intermediate %u, %u/%u heads of %u, vocabulary %u, bf16", model.name, model.layers, model.hidden,
             model.intermediate, model.heads, model.kvHeads, model.headDim, model.vocab);
  const Fields head{{"model", about}, {"deterministic", options.bench.device.deterministic ? "yes" : "no"}};
  printf("%s\n", head[0].second.c_str());
  const auto begin = std::chrono::steady_clock::now();
  std::vector<PartReport> reports;
  bool good = true;
  for (const Part& part : kParts) {
    if (!wanted(options.parts, part.name)) continue;
    const double left = options.seconds - std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const auto work = [&](Sink& sink) { part.work(options.bench, sink); };
    reports.push_back(runApart(part.name, part.title, std::min(part.limit, left), options.bench.facts, work));
    good = good && reports.back().error.empty();
    writeReports(options.out, head, reports);
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace gpu
}  // namespace weft

int main(int argc, char** argv) try {
  return weft::gpu::run(argc, argv);
} catch (const weft::Error& error) {
  fprintf(stderr, "weft-gpu-bench: %s · %s\n", error.code, error.what());
  return 1;
}
