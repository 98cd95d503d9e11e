// weft-replay: runs recorded lists without Node. See `usage`.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "compare.h"
#include "error.h"
#include "fuzz.h"

namespace weft {
namespace {

constexpr char kUsage[] =
    "usage: weft-replay FILE… [OPTIONS]\n"
    "\n"
    "Runs recorded lists and compares what they leave in their buffers with what was recorded.\n"
    "\n"
    "  --device NAME      cpu, or cuda:N; cpu by default\n"
    "  --module FILE      kernels of a CUDA device; weft-cuda.fatbin beside this program by default\n"
    "  --driver FILE      libcuda.so.1 by default\n"
    "  --deterministic    on a CUDA device: a row has the same bits in every batch\n"
    "  --own-gemm         no linear map by cuBLASLt\n"
    "  --cublaslt FILE    where cuBLASLt is, if the loader does not find it; may be given again\n"
    "  --isa NAME         portable, avx2, avx512, neon or another of its kin; the best of this processor by default\n"
    "  --threads N        as many as this process may use by default\n"
    "  --exact            refuse any difference, not only one beyond the recorded tolerance\n"
    "  --time             print how long each op took\n"
    "  --repeat N         run N times (timing: the fastest counts)\n"
    "  --write-expected   put what this run leaves into the file, instead of comparing\n"
    "  --fuzz N           run N random changes of the list and its metadata; each must run or be refused\n"
    "  --seed S           of --fuzz; 1 by default\n"
    "\n"
    "Exits with 1 when a recording differs or fails.\n";

struct Options {
  std::vector<std::string> files;
  std::string isa, device = "cpu", module, driver;
  std::vector<std::string> cublasLt;
  uint64_t threads = 0, repeat = 1, fuzz = 0, seed = 1;
  bool deterministic = false, ownGemm = false, exact = false, time = false, writeExpected = false;
};

[[noreturn]] void misuse(const std::string& what) {
  fprintf(stderr, "weft-replay: %s\n\n%s", what.c_str(), kUsage);
  exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string arg = argv[i];
    const auto next = [&]() -> std::string {
      if (i + 1 == argc) misuse(arg + " needs a value");
      return argv[++i];
    };
    const auto number = [&](uint64_t max) {
      const std::string text = next();
      char* end;
      const uint64_t value = strtoull(text.c_str(), &end, 10);
      if (text.empty() || *end || text[0] == '-' || value > max) misuse(arg + " " + text + ": no number that it takes");
      return value;
    };
    if (arg == "--help") { fputs(kUsage, stdout); exit(0); }
    else if (arg == "--device") options.device = next();
    else if (arg == "--module") options.module = next();
    else if (arg == "--driver") options.driver = next();
    else if (arg == "--deterministic") options.deterministic = true;
    else if (arg == "--own-gemm") options.ownGemm = true;
    else if (arg == "--cublaslt") options.cublasLt.push_back(next());
    else if (arg == "--isa") options.isa = next();
    else if (arg == "--threads") options.threads = number(1024);
    else if (arg == "--exact") options.exact = true;
    else if (arg == "--time") options.time = true;
    else if (arg == "--repeat") options.repeat = std::max<uint64_t>(1, number(1'000'000));
    else if (arg == "--write-expected") options.writeExpected = true;
    else if (arg == "--fuzz") options.fuzz = number(UINT32_MAX);
    else if (arg == "--seed") options.seed = number(UINT32_MAX);
    else if (arg.rfind("--", 0) == 0) misuse("there is no option " + arg);
    else options.files.push_back(arg);
  }
  if (options.files.empty()) misuse("no file is given");
  return options;
}

void printTimes(const Recording& recording, const RunResult& result) {
  struct Sum { uint64_t count = 0; double ns = 0; };
  std::map<std::string, Sum> byName;
  size_t word = 0;
  for (size_t i = 0; i < result.opNs.size(); i++, word += recording.words[word + 1]) {
    const char* name = kOps[recording.words[word]].name;
    printf("  %5zu  %-12s %12.1f µs\n", i, name, result.opNs[i] / 1e3);
    Sum& sum = byName[name];
    sum.count++;
    sum.ns += result.opNs[i];
  }
  for (const auto& [name, sum] : byName) {
    printf("  %5llu× %-12s %12.1f µs  %5.1f %%\n", (unsigned long long)sum.count, name.c_str(), sum.ns / 1e3,
        100 * sum.ns / result.elapsedNs);
  }
}

void takeExpected(Recording& recording, const Session& session, const std::string& path, const std::string& isa) {
  for (const auto& e : recording.expectations) {
    memcpy(recording.file.data() + e.place, session.buffer(e.buffer)->data() + e.offset, e.bytes);
  }
  memset(recording.file.data() + 8, 0, 16);
  memcpy(recording.file.data() + 8, isa.data(), std::min<size_t>(isa.size(), 15));
  recording.write(path);
  printf("%s: expectations written\n", path.c_str());
}

bool report(const std::string& path, const Recording& recording, const ReplayDevice& device, const Comparison& c, bool exact) {
  const bool same = c.sameBits == c.values;
  const bool good = exact ? same : c.beyond == 0;
  printf("%s: %s  %llu values, %.4f %% bit-identical, max |Δ| %.3g (recorded on %s, run on %s)\n", path.c_str(), good ? "ok" : "DIFFERS",
         (unsigned long long)c.values, c.values ? 100.0 * c.sameBits / c.values : 100.0, c.maxDifference,
         recording.isa.c_str(), device.isa().c_str());
  if (c.beyond) printf("  %llu beyond tolerance, the first: %s\n", (unsigned long long)c.beyond, c.firstBeyond.c_str());
  return good;
}

bool replay(const std::string& path, ReplayDevice& device, const Options& options) {
  Recording recording = device.adapted(Recording::read(path));
  Session session(recording);
  if (options.fuzz) {
    const FuzzResult result = fuzz(recording, session, device, options.fuzz, options.seed);
    printf("%s: %llu ran, %llu refused\n", path.c_str(), (unsigned long long)result.ran, (unsigned long long)result.refused);
    return true;
  }
  RunResult fastest;
  for (uint64_t i = 0; i < options.repeat; i++) {
    if (i) session.restore();
    RunResult result = session.run(device, recording.words, options.time);
    if (i == 0 || result.elapsedNs < fastest.elapsedNs) fastest = std::move(result);
  }
  if (options.time) printTimes(recording, fastest);
  printf("%s: %.1f µs, %s\n", path.c_str(), fastest.elapsedNs / 1e3, device.describe().c_str());
  if (options.writeExpected) {
    takeExpected(recording, session, path, device.isa());
    return true;
  }
  return report(path, recording, device, compare(recording, session), options.exact);
}

std::unique_ptr<ReplayDevice> open(const Options& options) {
  if (options.device == "cpu") return makeCpuReplay(static_cast<uint32_t>(options.threads), options.isa);
  const std::string ordinal = options.device.substr(std::min<size_t>(5, options.device.size()));
  if (options.device.rfind("cuda:", 0) != 0 || ordinal.empty() || ordinal.size() > 3 || ordinal.find_first_not_of("0123456789") != std::string::npos) {
    misuse("--device " + options.device + ": there are cpu and cuda:N");
  }
  return makeCudaReplay({std::stoi(ordinal), options.driver, options.module, options.deterministic, options.ownGemm, options.cublasLt});
}

int run(int argc, char** argv) {
  Options options = parse(argc, argv);
  const std::string program = argv[0];
  if (options.module.empty()) options.module = program.substr(0, program.rfind('/') + 1) + "weft-cuda.fatbin";
  bool good = true;
  try {
    const std::unique_ptr<ReplayDevice> device = open(options);
    for (const std::string& path : options.files) {
      try {
        good = replay(path, *device, options) && good;
      } catch (const Error& error) {
        printf("%s: %s · %s\n", path.c_str(), error.code, error.what());
        good = false;
      }
    }
  } catch (const Error& error) {
    fprintf(stderr, "weft-replay: %s · %s\n", error.code, error.what());
    return 1;
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) { return weft::run(argc, argv); }
