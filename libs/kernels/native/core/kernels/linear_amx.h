// bf16 rows × bf16 weights in AMX tiles (TDPBF16PS): 16 rows × 16 outputs × 32 k an instruction, for any number of rows, so
// that a row's bits don't depend on it.
//
// Panels [k/2][32][2] are the B tiles already: 16 pairs of k × 16 outputs are 16 rows of 64 bytes at a stride of 128. Rows of
// x are the A tiles where they lie. Tiles: C of two row tiles × two halves of a block, two of A, two of B: each tile loaded
// is used twice. Within a tile the products of even and of odd k are summed apart, then added to C; k ascends from tile to
// tile: the order is K's alone.
//
// few rows    bound by memory, as with any other instruction.
// many rows   bound by flops: 2·rows·n·k at 1,024 multiply-adds a cycle; x stays in L1 while blocks pass by.
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kAmxRows = 16, kAmxDepth = 32;        // rows of a tile; k of a tile
constexpr double kAmxFlopsPerNs = 1000;                  // a guess at one core, only for the size of tiles

struct AmxPlan {
  Split blocks;
  uint32_t chunks;
  // Chunks of two row tiles.
  AmxPlan(const LinearArgs& a, uint32_t threads) : blocks(ceilDiv(a.n, kOuts), blockNs(a), threads), chunks(ceilDiv(a.count, 2 * kAmxRows)) {}
  uint32_t tiles() const { return blocks.tiles() * chunks; }
  static bool takes(const LinearArgs& a) { return a.xType == kDTypeBf16 && a.dtype == kDTypeBf16; }
  static double blockNs(const LinearArgs& a) {
    const double flops = 2.0 * kOuts * a.k * 2 * kAmxRows / kAmxFlopsPerNs, bytes = kOuts * a.k * 2.0 / kBytesPerNs;
    return flops > bytes ? flops : bytes;
  }
};

// GCC's tile intrinsics don't say that they read memory: what was written for them must stand in it.
WEFT_INLINE void amxWritten(const void* memory) { __asm__ volatile("" : : "r"(memory) : "memory"); }

// Rows of the two row tiles; second 0: only the first is used.
WEFT_INLINE void amxConfigure(uint32_t first, uint32_t second) {
  struct alignas(64) Config {
    uint8_t palette = 1, startRow = 0, reserved[14] = {};
    uint16_t rowBytes[16] = {};
    uint8_t rows[16] = {};
  } config;
  const uint32_t rows[] = {first, first, second, second, first, second, kAmxRows, kAmxRows};
  for (int t = 0; t < 8; t++) {
    config.rowBytes[t] = rows[t] ? 64 : 0;
    config.rows[t] = (uint8_t)rows[t];
  }
  amxWritten(&config);
  _tile_loadconfig(&config);
}

// Tiles 0, 1: C of the first rows and both halves of the outputs; 2, 3 of the second; 4, 5: A; 6, 7: B.
template <bool kTwo>
WEFT_INLINE void amxStep(const uint16_t* x, size_t rowBytes, const uint16_t* w) {
  _tile_loadd(6, w, 128);
  _tile_loadd(4, x, rowBytes);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, w + 32, 128);
  _tile_dpbf16ps(1, 4, 7);
  if (!kTwo) return;
  _tile_loadd(5, reinterpret_cast<const uint8_t*>(x) + kAmxRows * rowBytes, rowBytes);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// A block for at most 32 rows. at(i): weights of the i-th 32 k, at.tail() of the last ones, where they are fewer. tail: these k of x,
// [rows][32] with zeros behind them.
template <bool kTwo, class WeightsAt>
static void amxBlock(const LinearArgs& a, const uint16_t* x, const uint16_t* tail, size_t row, uint32_t rows, uint32_t block, WeightsAt at) {
  const size_t whole = a.k / kAmxDepth;
  _tile_zero(0);
  _tile_zero(1);
  if (kTwo) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (size_t i = 0; i < whole; i++) amxStep<kTwo>(x + i * kAmxDepth, a.ldx * sizeof *x, at(i));
  if (a.k % kAmxDepth) amxStep<kTwo>(tail, kAmxDepth * sizeof *tail, at.tail());
  alignas(64) float sums[2 * kAmxRows][kOuts];
  _tile_stored(0, sums[0], sizeof sums[0]);
  _tile_stored(1, sums[0] + 16, sizeof sums[0]);
  if (kTwo) {
    _tile_stored(2, sums[kAmxRows], sizeof sums[0]);
    _tile_stored(3, sums[kAmxRows] + 16, sizeof sums[0]);
  }
  for (uint32_t r = 0; r < rows; r++)
    for (int v = 0; v < kVectors; v++) {
      const size_t out = block * (size_t)kOuts + v * kLanes;
      if (out < a.n) linearStore(a, row + r, out, load(sums[r] + v * kLanes));
    }
}

// Panels one after another.
struct AmxPanel {
  const uint16_t* w;
  size_t whole, pairs;                                   // 32s of k; pairs of k
  alignas(64) uint16_t last[kAmxDepth * kOuts] = {};
  AmxPanel(const LinearArgs& a, uint32_t block)
      : w(reinterpret_cast<const uint16_t*>(a.w) + block * panelSteps<Bf16>(a.k) * kOuts * 2), whole(a.k / kAmxDepth), pairs(panelSteps<Bf16>(a.k)) {}
  const uint16_t* operator()(size_t i) const { return w + i * kAmxDepth * kOuts; }
  const uint16_t* tail() {                               // the panel ends here: what follows is no weight of ours
    memcpy(last, w + whole * kAmxDepth * kOuts, (pairs - whole * kAmxDepth / 2) * kOuts * 2 * sizeof *w);
    amxWritten(last);
    return last;
  }
};

// Rows [row, row + rows), at most 32, for blocks [block, end); panelOf(block): what amxBlock asks for weights.
template <class PanelOf>
static void amxRows(const LinearArgs& a, uint32_t row, uint32_t rows, uint32_t block, uint32_t end, PanelOf panelOf) {
  const uint16_t* x = rowOf<Bf16>(a.x, row, a.ldx);
  alignas(64) uint16_t tail[2 * kAmxRows * kAmxDepth] = {};
  const uint32_t left = a.k % kAmxDepth;
  for (uint32_t r = 0; r < rows && left; r++) memcpy(tail + r * kAmxDepth, x + r * (size_t)a.ldx + a.k - left, left * sizeof *x);
  amxWritten(tail);
  const bool two = rows > kAmxRows;
  amxConfigure(two ? kAmxRows : rows, two ? rows - kAmxRows : 0);
  for (; block < end; block++) {
    if (two) amxBlock<true>(a, x, tail, row, rows, block, panelOf(block));
    else amxBlock<false>(a, x, tail, row, rows, block, panelOf(block));
  }
  _tile_release();                                       // a thread without tiles in use is switched faster
}

static void amxRun(const LinearArgs& a, uint32_t tile, uint32_t threads) {
  const AmxPlan plan(a, threads);
  const uint32_t chunk = tile % plan.chunks, run = tile / plan.chunks;
  const uint32_t row = chunk * 2 * kAmxRows, rows = a.count - row < 2 * kAmxRows ? a.count - row : 2 * kAmxRows;
  amxRows(a, row, rows, plan.blocks.begin(run), plan.blocks.end(run), [&](uint32_t block) { return AmxPanel(a, block); });
}

}  // namespace WEFT_ISA
}  // namespace weft
