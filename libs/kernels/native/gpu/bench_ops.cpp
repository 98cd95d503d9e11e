// One decode step, op by op: where its time goes, and how near each op is to what bounds it.
#include <algorithm>

#include "core/error.h"
#include "gpu/loaded_model.h"

namespace weft {
namespace gpu {
namespace {

// What ops of one kind and shape take in a step.
struct Kind {
  std::string name;
  uint32_t count = 0;
  double bytes = 0;                      // of memory that they must read or write, all together
  std::vector<double> ns;                // by run
};

struct Load { double rows, positions; const ModelShape& shape; const std::vector<uint32_t>& ranks; };

std::string nameOf(const RecordedOp& op) {
  std::string name = op.info().name;
  if (op.code() == kOpLinear) name += format(" %u x %u", op.param("n"), op.param("k"));
  if (op.code() == kOpLoraShrink) name += format(" %u x %u", op.param("parts"), op.param("dIn"));
  if (op.code() == kOpLoraExpand) name += format(" %u", op.param("dOut"));
  return name;
}

// Weights, keys and values, adapters, and rows of activations where they are all there is.
double bytesOf(const RecordedOp& op, const Load& load) {
  const auto p = [&](const char* name) { return static_cast<double>(op.param(name)); };
  double ranks = 0;
  for (const uint32_t rank : load.ranks) ranks += rank;
  switch (op.code()) {
    case kOpLinear: return 2 * p("n") * p("k") + load.rows * (2 * p("k") + 4 * p("n"));
    case kOpAttention: return load.positions * 4 * load.shape.kvHeads * load.shape.headDim;
    case kOpLoraShrink: return 2 * ranks * p("dIn") * p("parts");
    case kOpLoraExpand: return 2 * ranks * p("dOut");
    case kOpSample: return 4 * load.rows * p("vocab");
    case kOpEmbed: return 6 * load.rows * p("dim");
    case kOpRmsNorm: return load.rows * p("dim") * (p("ldAdd") > 0 ? 14 : 6);
    case kOpGatedAct: return 10 * load.rows * p("dim");
    case kOpRopeKv: return 8 * load.rows * p("width");
    case kOpCopyRows: return 6 * load.rows * p("dim");
    default: return 0;
  }
}

}  // namespace

void benchOps(const Bench& bench, Sink& sink) {
  const Sizes& sizes = bench.sizes;
  const uint32_t size = sizes.breakdownBatch, context = sizes.breakdownContext;
  LoadedModel model(bench, sizes, uint64_t{size} * context, size);
  if (!model.holds(size, context, size)) {
    sink.note("Such a step does not fit into this GPU's memory.");
    return;
  }
  std::vector<uint32_t> ranks;
  for (uint32_t i = 0; i < size; i++) ranks.push_back(sizes.ranks[i % sizes.ranks.size()]);
  const Load load{double(size), double(size) * context, sizes.model, ranks};
  model.llama->prepare(model.decoding(size, context, size));
  const std::vector<RecordedOp> ops = opsOf(model.llama->words(model.llama->bucketOf(size)));
  std::vector<Kind> kinds;
  std::vector<size_t> kindOf;
  for (const RecordedOp& op : ops) {
    const std::string name = nameOf(op);
    auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return k.name == name; });
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), Kind{name, 0, 0, {}});
    kind->count++;
    kind->bytes += bytesOf(op, load);
    kindOf.push_back(static_cast<size_t>(kind - kinds.begin()));
  }
  const double first = clocked([&] { model.llama->run(); });
  const Timing graph = measure([&] { return model.llama->run().elapsedNs; }, sizes.seconds);
  const Timing timed = measure([&] {
    const RunResult result = model.llama->run(true);
    for (Kind& kind : kinds) kind.ns.push_back(0);
    for (size_t i = 0; i < ops.size(); i++) kinds[kindOf[i]].ns.back() += result.opNs[i];
    return result.elapsedNs;
  }, sizes.seconds);
  double all = 0;
  for (Kind& kind : kinds) {
    std::sort(kind.ns.begin(), kind.ns.end());
    all += kind.ns[kind.ns.size() / 2];
  }
  std::sort(kinds.begin(), kinds.end(), [](const Kind& a, const Kind& b) { return a.ns[a.ns.size() / 2] > b.ns[b.ns.size() / 2]; });
  for (const Kind& kind : kinds) {
    const double ns = kind.ns[kind.ns.size() / 2], gbs = kind.bytes / ns;
    const bool counted = kind.bytes > 0;
    sink.row({{"op", kind.name}, {"times", std::to_string(kind.count)}, {"µs", number(ns / 1e3)},
              {"µs each", number(ns / 1e3 / kind.count)}, {"% of all", percent(ns, all)}, {"GB/s", counted ? number(gbs) : ""},
              {"% of copy", counted ? percent(gbs, bench.fact("copyGBs")) : ""}});
  }
  sink.note(format("%zu ops: %.3f ms as a graph (%.3f to %.3f), %.3f ms op by op, of which the ops took %.3f; the first run, which "
                   "makes the graph, took %.1f ms", ops.size(), graph.median / 1e6, graph.min / 1e6, graph.max / 1e6, timed.median / 1e6,
                   all / 1e6, first / 1e6));
}

}  // namespace gpu
}  // namespace weft
