// Bound by memory: every value is read once from the page cache and written once. Files are read, not mapped: a mapped
// page costs a fault, counts as resident beside the packed copy, and kills the process when the file shrinks.
#include "pack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>

#include "bf12.h"
#include "error.h"
#include "file.h"
#include "float_formats.h"
#include "int8_format.h"
#include "ops.gen.h"

namespace weft {
namespace {

constexpr uint32_t kLanes = 32;
// Values that a tile reads: its rows and their transpose stay in L2.
constexpr uint64_t kTileValues = 1 << 17;
constexpr uint64_t kMaxValues = uint64_t{1} << 40;

// Successive k that stand side by side in a panel.
constexpr uint32_t depthOf(uint32_t dtype) { return dtype == kDTypeBf16 ? 2 : 1; }
constexpr uint64_t panelCols(uint64_t cols, uint32_t dtype) { return (cols + depthOf(dtype) - 1) / depthOf(dtype) * depthOf(dtype); }

constexpr uint32_t valueBytes(uint32_t dtype) { return dtype == kDTypeF32 ? 4 : 2; }

const char* dtypeName(uint32_t dtype) { return dtype == kDTypeF32 ? "f32" : dtype == kDTypeBf16 ? "bf16" : "f16"; }

[[noreturn]] void fail(const TensorSource& source, const char* code, const std::string& what) {
  Error error(code, (source.name.empty() ? source.path + " at byte " + std::to_string(source.offset) : source.name) + ": " + what);
  error.file = source.path;
  error.tensor = source.name;
  throw error;
}

// Of value `at` of what is packed, as the file has it.
std::string placeOf(const TensorSource& source, uint64_t at) {
  uint64_t row = at / source.cols, column = at % source.cols;
  if (source.transposed) std::swap(row, column);
  return format("row %llu, column %llu", (unsigned long long)row, (unsigned long long)column);
}

// Columns [first, first + count) of the file's [cols][rows], as rows. The matrix is read as a whole: it is one head's, and small.
bool readColumns(const File& file, const TensorSource& source, uint64_t first, uint64_t count, uint8_t* to) {
  const uint32_t size = valueBytes(source.dtype);
  std::vector<uint8_t> whole(source.rows * source.cols * size);
  if (!file.read(whole.data(), whole.size(), source.offset)) return false;
  for (uint64_t row = 0; row < count; row++) {
    for (uint64_t i = 0; i < source.cols; i++) std::memcpy(to + (row * source.cols + i) * size, whole.data() + (i * source.rows + first + row) * size, size);
  }
  return true;
}

template <uint32_t DType> struct Format;

template <> struct Format<kDTypeF32> {
  using Stored = uint32_t;
  static constexpr uint32_t kInfinity = 0x7f800000;
  static float toF32(uint32_t stored) { return floatOf(stored); }
  static bool fromF32(float value, uint32_t& stored) { stored = bitsOf(value); return true; }
};

template <> struct Format<kDTypeBf16> {
  using Stored = uint16_t;
  static constexpr uint32_t kInfinity = 0x7f80;
  static float toF32(uint16_t stored) { return bf16ToF32(stored); }
  static bool fromF32(float value, uint16_t& stored) { return exactBf16(value, stored); }
};

template <> struct Format<kDTypeF16> {
  using Stored = uint16_t;
  static constexpr uint32_t kInfinity = 0x7c00;
  static float toF32(uint16_t stored) { return f16ToF32(stored); }
  static bool fromF32(float value, uint16_t& stored) { return exactF16(value, stored); }
};

template <uint32_t From>
void requireFinite(const TensorSource& source, const void* values, uint64_t count, uint64_t firstValue) {
  using F = Format<From>;
  const auto* stored = static_cast<const typename F::Stored*>(values);
  uint32_t bad = 0;
  for (uint64_t i = 0; i < count; i++) bad |= (stored[i] & F::kInfinity) == F::kInfinity;
  if (!bad) return;
  uint64_t i = 0;
  while ((stored[i] & F::kInfinity) != F::kInfinity) i++;
  const uint64_t at = firstValue + i;
  fail(source, "checkpoint_not_finite",
       format("the value in %s is %f.", placeOf(source, at).c_str(), double(F::toF32(stored[i]))));
}

template <uint32_t From, uint32_t To>
void convert(const TensorSource& source, const void* from, uint64_t count, uint64_t firstValue, void* to) {
  const auto* stored = static_cast<const typename Format<From>::Stored*>(from);
  auto* out = static_cast<typename Format<To>::Stored*>(to);
  for (uint64_t i = 0; i < count; i++) {
    const float value = Format<From>::toF32(stored[i]);
    if (Format<To>::fromF32(value, out[i])) continue;
    const uint64_t at = firstValue + i;
    fail(source, "checkpoint_tensor_dtype",
         format("the value in %s is %.9g, which %s cannot hold exactly.", placeOf(source, at).c_str(), double(value), dtypeName(To)));
  }
}

template <uint32_t From>
void convertTo(uint32_t target, const TensorSource& source, const void* from, uint64_t count, uint64_t firstValue, void* to) {
  requireFinite<From>(source, from, count, firstValue);
  if (target == From) return;
  if (target == kDTypeF32) convert<From, kDTypeF32>(source, from, count, firstValue, to);
  else if (target == kDTypeBf16) convert<From, kDTypeBf16>(source, from, count, firstValue, to);
  else convert<From, kDTypeF16>(source, from, count, firstValue, to);
}

struct Job {
  const std::vector<TensorSource>& sources;
  std::vector<std::shared_ptr<File>> files;              // of each source; sources of one file share it
  std::vector<uint64_t> firstRows;  // of each source among all rows, and the end
  uint32_t target;
  uint64_t cols, rowsPerTile;
  uint8_t* out;
  mutable std::atomic<bool> codable{true};               // bf12: false as soon as one panel is not

  uint64_t rows() const { return firstRows.back(); }
  uint64_t rowBytes() const { return cols * valueBytes(target); }

  // Rows [begin, end) in the target format, one after another. raw: room for them as the file has them.
  void readRows(uint64_t begin, uint64_t end, uint8_t* raw, uint8_t* to) const {
    size_t s = std::upper_bound(firstRows.begin(), firstRows.end(), begin) - firstRows.begin() - 1;
    for (uint64_t row = begin; row < end; s++) {
      const TensorSource& source = sources[s];
      const uint64_t last = std::min(end, std::max(row, firstRows[s] + source.rows)), count = (last - row) * cols, first = (row - firstRows[s]) * cols;
      uint8_t* place = to + (row - begin) * rowBytes();
      row = std::min(end, firstRows[s + 1]);
      std::fill(to + (last - begin) * rowBytes(), to + (row - begin) * rowBytes(), uint8_t{0});      // its padding
      if (count == 0) continue;
      uint8_t* read = source.dtype == target ? place : raw;
      const bool whole = source.transposed ? readColumns(*files[s], source, first / cols, count / cols, read)
                                           : files[s]->read(read, count * valueBytes(source.dtype), source.offset + first * valueBytes(source.dtype));
      if (!whole) {
        fail(source, "io_error", "the file ends inside the tensor.");
      }
      if (source.dtype == kDTypeF32) convertTo<kDTypeF32>(target, source, read, count, first, place);
      else if (source.dtype == kDTypeBf16) convertTo<kDTypeBf16>(target, source, read, count, first, place);
      else convertTo<kDTypeF16>(target, source, read, count, first, place);
    }
  }
};

// [lanes][cols] → [ceil(cols/Depth)][32][Depth]. Eight columns at a time: 32 streams are read, one is written.
template <uint64_t Depth, typename Stored>
void transpose(const Stored* rows, uint64_t lanes, uint64_t cols, Stored* panel) {
  constexpr uint64_t kStep = 8;
  for (uint64_t c = 0; c < cols; c += kStep) {
    const uint64_t width = std::min(kStep, cols - c);
    for (uint64_t lane = 0; lane < lanes; lane++) {
      for (uint64_t i = 0; i < width; i++) panel[((c + i) / Depth * kLanes + lane) * Depth + i % Depth] = rows[lane * cols + c + i];
    }
  }
}

void packPanel(const void* context, uint32_t tile, Scratch& scratch) {
  const Job& job = *static_cast<const Job*>(context);
  const uint64_t begin = uint64_t{tile} * kLanes, end = std::min(begin + kLanes, job.rows());
  uint8_t* rows = static_cast<uint8_t*>(scratch.take(kLanes * job.cols * (valueBytes(job.target) + 4)));
  job.readRows(begin, end, rows + kLanes * job.rowBytes(), rows);
  uint8_t* panel = job.out + uint64_t{tile} * kLanes * panelCols(job.cols, job.target) * valueBytes(job.target);
  const auto *words = reinterpret_cast<const uint32_t*>(rows);
  const auto *halves = reinterpret_cast<const uint16_t*>(rows);
  if (job.target == kDTypeF32) transpose<1>(words, end - begin, job.cols, reinterpret_cast<uint32_t*>(panel));
  else if (job.target == kDTypeBf16) transpose<2>(halves, end - begin, job.cols, reinterpret_cast<uint16_t*>(panel));
  else transpose<1>(halves, end - begin, job.cols, reinterpret_cast<uint16_t*>(panel));
}

void packBf12Panel(const void* context, uint32_t tile, Scratch& scratch) {
  const Job& job = *static_cast<const Job*>(context);
  if (!job.codable.load(std::memory_order_relaxed)) return;
  const uint64_t begin = uint64_t{tile} * kLanes, end = std::min(begin + kLanes, job.rows());
  const uint64_t pairValues = (job.cols + 1) / 2 * 2 * kLanes;
  auto* pairs = static_cast<uint16_t*>(scratch.take((pairValues + kLanes * job.cols * 3) * sizeof(uint16_t)));
  uint16_t* rows = pairs + pairValues;
  job.readRows(begin, end, reinterpret_cast<uint8_t*>(rows + kLanes * job.cols), reinterpret_cast<uint8_t*>(rows));
  std::fill_n(pairs, pairValues, uint16_t{0});
  transpose<2>(rows, end - begin, job.cols, pairs);
  const auto k = static_cast<uint32_t>(job.cols);
  if (!encodeBf12(pairs, k, job.out + tile * bf12PanelBytes(k))) job.codable = false;
}

// The least bf16 that takes no value of a group beyond 127; 0 for a group of zeros.
uint16_t int8Scale(float most) {
  uint32_t bits = bitsOf(most / 127);
  bits = (bits + 0xffff) & 0xffff0000;
  while (double(floatOf(bits)) * 127 < most) bits += 0x10000;
  return static_cast<uint16_t>(bits >> 16);
}

// Rounds `count` values (at most a group) of one output to its lane of `group`, and notes their scale.
void quantize(const float* values, uint32_t count, uint8_t* group, uint16_t* scale) {
  uint32_t most = 0;  // of magnitudes, whose bits stand in their order
  for (uint32_t i = 0; i < count; i++) most = std::max(most, bitsOf(values[i]) & 0x7fffffff);
  *scale = int8Scale(floatOf(most));
  const float divisor = *scale ? bf16ToF32(*scale) : 1;
  int32_t rounded[kInt8Group];
  // Adding 1.5 · 2^23 rounds to nearest, ties to even, and leaves the integer in the low bits.
  for (uint32_t i = 0; i < count; i++) rounded[i] = static_cast<int32_t>(bitsOf(values[i] / divisor + 12582912.0f));
  for (uint32_t i = 0; i < count; i++) group[i / 2 * kInt8Line + i % 2] = static_cast<uint8_t>(rounded[i]);
}

void quantizePanel(const void* context, uint32_t tile, Scratch& scratch) {
  const Job& job = *static_cast<const Job*>(context);
  const uint64_t begin = uint64_t{tile} * kLanes, end = std::min(begin + kLanes, job.rows());
  auto* rows = static_cast<float*>(scratch.take(kLanes * job.cols * (sizeof(float) + 4)));
  job.readRows(begin, end, reinterpret_cast<uint8_t*>(rows + kLanes * job.cols), reinterpret_cast<uint8_t*>(rows));
  uint8_t* panel = job.out + uint64_t{tile} * int8PanelBytes(job.cols);
  for (uint64_t g = 0; g < int8Groups(job.cols); g++) {
    const uint64_t first = g * kInt8Group;
    const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(kInt8Group, job.cols - first));
    auto* scales = reinterpret_cast<uint16_t*>(panel + int8ScalesAt(g, job.cols));
    for (uint64_t lane = 0; lane < end - begin; lane++) {
      quantize(rows + lane * job.cols + first, count, panel + int8GroupAt(g) + 2 * lane, scales + lane);
    }
  }
}

void packRowsTile(const void* context, uint32_t tile, Scratch& scratch) {
  const Job& job = *static_cast<const Job*>(context);
  const uint64_t begin = tile * job.rowsPerTile, end = std::min(begin + job.rowsPerTile, job.rows());
  uint8_t* raw = static_cast<uint8_t*>(scratch.take(job.rowsPerTile * job.cols * 4));
  job.readRows(begin, end, raw, job.out + begin * job.rowBytes());
}

}  // namespace

uint64_t packedBytes(const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout) {
  if (sources.empty()) throw Error("option_invalid", "there is nothing to pack.");
  uint64_t rows = 0;
  for (const TensorSource& source : sources) {
    if (source.cols != sources[0].cols) {
      fail(source, "option_invalid",
          format("it has %llu columns, the first has %llu.", (unsigned long long)source.cols, (unsigned long long)sources[0].cols));
    }
    if (source.rows == 0 || source.cols == 0 || source.rows > kMaxValues / source.cols) {
      fail(source, "option_invalid", "it is empty or too large.");
    }
    if (source.pad > kMaxValues / source.cols) fail(source, "option_invalid", "its padding is too large.");
    rows += source.rows + source.pad;
    if (rows > kMaxValues / source.cols) fail(source, "option_invalid", "with it the matrix becomes too large.");
  }
  const uint64_t cols = sources[0].cols, panels = (rows + kLanes - 1) / kLanes;
  if (target == kDTypeInt8 && layout == PackLayout::kRows) fail(sources[0], "option_invalid", "int8 has no plain rows.");
  if (target == kDTypeInt8) return panels * int8PanelBytes(cols);
  if (target == kDTypeBf12) {
    if (layout == PackLayout::kRows || cols >= kBf12KMax) fail(sources[0], "option_invalid", "bf12 has panels of less than 524288 columns.");
    return panels * bf12PanelBytes(static_cast<uint32_t>(cols));
  }
  if (layout == PackLayout::kRows) return rows * cols * valueBytes(target);
  return panels * kLanes * panelCols(cols, target) * valueBytes(target);
}

bool pack(ThreadPool& pool, const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout, uint8_t* out) {
  // int8 is made from the exact values, bf12 from bf16.
  const uint32_t read = target == kDTypeInt8 ? kDTypeF32 : target == kDTypeBf12 ? kDTypeBf16 : target;
  Job job{sources, {}, {0}, read, sources[0].cols, 0, out};
  for (size_t s = 0; s < sources.size(); s++) {
    const TensorSource& source = sources[s];
    const bool same = s > 0 && source.path == sources[s - 1].path;
    job.files.push_back(same ? job.files.back() : std::make_shared<File>(source.path, "checkpoint_file_missing"));
    job.firstRows.push_back(job.rows() + source.rows + source.pad);
  }
  job.rowsPerTile = layout == PackLayout::kPanels ? kLanes : std::max<uint64_t>(1, kTileValues / job.cols);
  const uint64_t tiles = (job.rows() + job.rowsPerTile - 1) / job.rowsPerTile;
  if (tiles > UINT32_MAX) fail(sources[0], "option_invalid", "it has too many rows.");
  const auto panel = target == kDTypeInt8 ? quantizePanel : target == kDTypeBf12 ? packBf12Panel : packPanel;
  pool.run(static_cast<uint32_t>(tiles), layout == PackLayout::kRows ? packRowsTile : panel, &job);
  return job.codable;
}

}  // namespace weft
