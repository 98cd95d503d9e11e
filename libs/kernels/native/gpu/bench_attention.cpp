// Attention alone, with a long past: bound by reading keys and values.
#include <cmath>

#include "core/error.h"
#include "gpu/llama.h"
#include "gpu/llama_record.h"
#include "gpu/parts.h"

namespace weft {
namespace gpu {

void benchAttention(const Bench& bench, Sink& sink) {
  const ModelShape& shape = bench.sizes.model;
  const KvView kv(shape);
  const uint32_t context = bench.sizes.attentionContext, blocks = (context + kBlockTokens - 1) / kBlockTokens;
  const uint32_t q = shape.heads * shape.headDim, spans = (context + kAttentionSpan - 1) / kAttentionSpan;
  for (const uint32_t size : bench.sizes.attentionBatches) {
    Machine machine(bench.device);
    const uint32_t pages = size * blocks;
    if (pages * kv.pageBytes + (1u << 20) > machine.device.freeBytes()) {
      sink.note(format("%u sequences of %u tokens don't fit into this GPU's memory.", size, context));
      continue;
    }
    const Ref arena = machine.allocate(pages * kv.pageBytes, "arena");
    machine.fill(arena, kDTypeF16, 1);
    const Rows rows = allocateRows(machine, size, q, "q"), out = allocateRows(machine, size, q, "out", kDTypeBf16);
    machine.fill(rows.ref, kDTypeF32, 1);
    const FrameLayout layout({size, size, size, 1, 1, pages, 1, 1});
    std::vector<int32_t> frame(layout.words), positions(size, static_cast<int32_t>(context - 1));
    std::vector<SequenceRows> batch;
    for (uint32_t i = 0; i < size; i++) batch.push_back({i, context - 1, 1, i, size, -1, false});
    writeFrame(layout, batch, shape.vocab, frame.data());
    const Ref frameRef = machine.allocate(layout.words * 4, "frame"), positionsRef = machine.allocate(size * 4, "positions");
    machine.write(frameRef, frame);
    machine.write(positionsRef, positions);
    for (const uint32_t cutRows : size > kSplitRows ? std::vector<uint32_t>{kSplitRows, size} : std::vector<uint32_t>{size}) {
      const uint32_t nPartials = cutRows * shape.heads * spans;
      const Rows partials = allocateRows(machine, nPartials, (shape.headDim + 15) / 16 * 16 + 2, "spans");
      ListBuilder builder;
      for (uint32_t layer = 0; layer < shape.layers; layer++) {
        builder.add(kOpAttention,
                    {{"q", rows.ref}, {"out", out.ref}, {"positions", positionsRef},
                     {"segments", {kBindingFrame, uint64_t{layout.segments} * 4}}, {"pages", {kBindingFrame, uint64_t{layout.pages} * 4}},
                     {"arena", arena}, {"partials", partials.ref}},
                    Params{{"count", kHeaderTokens}, {"rows", size}, {"segmentCount", kHeaderSegments}, {"heads", shape.heads},
                           {"width", q}, {"ldq", rows.ld}, {"ldo", out.ld}, {"window", 0u},
                           {"scale", 1 / std::sqrt(static_cast<float>(shape.headDim))}, {"softcap", 0.0f},
                           {"outType", out.type}, {"nPartials", nPartials}, {"ldPartials", partials.ld}} +
                        pagedParams(shape, kv, layer, size, pages, pages));
      }
      const List list = machine.list(builder.words(), {{kBindingFrame, frameRef}});
      const Timing timing = measure([&] { return machine.device.run(*list, false).elapsedNs / shape.layers; }, bench.sizes.seconds);
      const double gbs = 4.0 * size * context * shape.kvHeads * shape.headDim / timing.median;
      sink.row({{"sequences", std::to_string(size)}, {"context", std::to_string(context)}, {"rows cut by spans", std::to_string(cutRows)},
                {"µs a layer", number(timing.median / 1e3)}, {"fastest", number(timing.min / 1e3)}, {"slowest", number(timing.max / 1e3)},
                {"GB/s", number(gbs)}, {"% of copy", percent(gbs, bench.fact("copyGBs"))}});
    }
  }
}

}  // namespace gpu
}  // namespace weft
