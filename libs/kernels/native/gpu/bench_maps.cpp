// The linear maps of a layer, and the head, alone: bound by reading weights with few rows, by multiply-adds with many.
#include <algorithm>

#include "gpu/llama.h"
#include "gpu/parts.h"

namespace weft {
namespace gpu {
namespace {

struct Map { const char* name; uint32_t n, k, copies, mostRows; };

// By rows. Every weight stands there as often as there are layers: caches don't keep it until it is read again.
std::vector<Timing> timesOf(const cuda::CudaOptions& options, const Map& map, const std::vector<uint32_t>& rows, double seconds) {
  Machine machine(options);
  const Rows x = allocateRows(machine, rows.back(), map.k, "x", kDTypeBf16), y = allocateRows(machine, rows.back(), map.n, "y");
  machine.fill(x.ref, kDTypeBf16, 1);
  std::vector<Ref> weights;
  for (uint32_t i = 0; i < map.copies; i++) {
    weights.push_back(machine.allocate(uint64_t{map.n} * map.k * 2, map.name));
    machine.fill(weights.back(), kDTypeBf16, 1);
  }
  std::vector<Timing> times;
  for (const uint32_t count : rows) {
    ListBuilder builder;
    for (const Ref& w : weights) {
      builder.add(kOpLinear, {{"x", x.ref}, {"w", w}, {"b", {}}, {"y", y.ref}},
                  {{"count", kHeaderNone}, {"countFrom", 0u}, {"rows", count}, {"n", map.n}, {"k", map.k}, {"ldx", x.ld}, {"ldy", y.ld},
                   {"dtype", kDTypeBf16}, {"accumulate", 0u}, {"xType", kDTypeBf16}, {"layout", 1u}});
    }
    const List list = machine.list(builder.words());
    times.push_back(measure([&] { return machine.device.run(*list, false).elapsedNs / map.copies; }, seconds / 4));
  }
  return times;
}

bool hasBlas(const cuda::CudaOptions& options) { return cuda::CudaDevice(options).cublasLtVersion() != 0; }

}  // namespace

void benchMaps(const Bench& bench, Sink& sink) {
  const ModelShape& s = bench.sizes.model;
  const uint32_t q = s.heads * s.headDim, kv = s.kvHeads * s.headDim, all = bench.sizes.mapRows.back();
  const Map maps[] = {{"qkv", q + 2 * kv, s.hidden, s.layers, all}, {"o", s.hidden, q, s.layers, all},
                      {"gate+up", 2 * s.intermediate, s.hidden, s.layers, all}, {"down", s.hidden, s.intermediate, s.layers, all},
                      {"head", s.vocab, s.hidden, 2, kLogitTile}};
  cuda::CudaOptions own = bench.device;
  own.ownGemm = true;
  const bool blas = hasBlas(bench.device);
  for (const Map& map : maps) {
    std::vector<uint32_t> rows;
    for (const uint32_t count : bench.sizes.mapRows) {
      if (count <= map.mostRows) rows.push_back(count);
    }
    const std::vector<Timing> ours = timesOf(own, map, rows, bench.sizes.seconds);
    const std::vector<Timing> theirs = blas ? timesOf(bench.device, map, rows, bench.sizes.seconds) : ours;
    for (size_t i = 0; i < rows.size(); i++) {
      const double weights = 2.0 * map.n * map.k, fastest = std::min(ours[i].median, theirs[i].median), gbs = weights / fastest;
      const double tflops = weights * rows[i] / fastest / 1e3;
      sink.row({{"map", map.name}, {"n x k", std::to_string(map.n) + " x " + std::to_string(map.k)}, {"rows", std::to_string(rows[i])},
                {"own µs", number(ours[i].median / 1e3)}, {"with cuBLASLt µs", blas ? number(theirs[i].median / 1e3) : ""},
                {"GB/s", number(gbs)}, {"% of copy", percent(gbs, bench.fact("copyGBs"))}, {"TFLOP/s", number(tflops)},
                {"% of linear", percent(tflops, bench.fact("gemmTflops"))}});
    }
  }
}

}  // namespace gpu
}  // namespace weft
