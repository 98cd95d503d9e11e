// Sharing out work. A tile is 3 to 40 µs (Tuning): short enough that no thread waits long for the last one, long enough that
// taking it costs nothing. Estimates only shape tiles, never results.
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr double kBytesPerNs = kTuning.bytesPerNs;

WEFT_INLINE const Tuning& tuning() { return *threadTuning; }

// Into L2: what is asked for further ahead than L1 holds. On Zen 4 it also comes a third faster (docs/measurements/cpu-kernels.md).
WEFT_INLINE void askFor(const void* at) { __builtin_prefetch(at, 0, 2); }

constexpr uint32_t ceilDiv(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

// Work of one tile, in ns, for an op that takes totalNs on one thread: a few tiles per thread where the op is large enough.
WEFT_INLINE double tileNs(double totalNs, uint32_t threads) {
  const double wanted = totalNs / (4.0 * threads), least = tuning().tileNsMin, most = tuning().tileNs;
  return wanted < least ? least : wanted > most ? most : wanted;
}

// `items` equal items of itemNs each, in runs of `step`.
struct Split {
  uint32_t items, step;
  Split(uint32_t items, double itemNs, uint32_t threads) : items(items), step(1) {
    double wanted = tileNs(items * itemNs, threads) / itemNs;
    step = wanted >= items ? (items ? items : 1) : wanted < 1 ? 1 : (uint32_t)wanted;
  }
  uint32_t tiles() const { return ceilDiv(items, step); }
  uint32_t begin(uint32_t tile) const { return tile * step; }
  uint32_t end(uint32_t tile) const { uint32_t e = begin(tile) + step; return e < items ? e : items; }
};

// Tile i of `total` rows that are cut into as few runs of at most `most` rows as possible, of nearly equal length.
WEFT_INLINE uint32_t evenBegin(uint32_t total, uint32_t parts, uint32_t i) { return (uint32_t)((uint64_t)total * i / parts); }

// Unequal items, walked in a fixed order: a tile owns those whose cost begins inside its share of the total. Costs are
// whole ns, so that all tiles agree on where an item begins, whatever they skipped on the way.
struct Share {
  uint64_t from, to, at = 0;
  Share(uint32_t tile, uint64_t share) : from(tile * share), to((tile + 1) * share) {}
  bool owns(uint64_t cost) { uint64_t start = at; at += cost; return start >= from && start < to; }
  // Whether items of this cost in all end before ours begin; then they are behind us.
  bool skips(uint64_t cost) {
    if (at + cost > from) return false;
    at += cost;
    return true;
  }
  // Which of `items` items of the same cost are ours.
  struct Range { uint32_t begin, end; };
  Range ownsOf(uint32_t items, uint64_t cost) {
    const uint64_t start = at;
    at += items * cost;
    auto firstFrom = [&](uint64_t point) {
      const uint64_t n = point <= start ? 0 : (point - start + cost - 1) / cost;
      return (uint32_t)(n < items ? n : items);
    };
    return cost ? Range{firstFrom(from), firstFrom(to)} : Range{0, 0};
  }
};

WEFT_INLINE uint64_t shareNs(uint64_t totalNs, uint32_t threads) { return (uint64_t)tileNs((double)totalNs, threads); }
WEFT_INLINE uint32_t sharesOf(uint64_t totalNs, uint32_t threads) {
  const uint64_t share = shareNs(totalNs, threads);
  return (uint32_t)((totalNs + share - 1) / share);
}

}  // namespace WEFT_ISA
}  // namespace weft
