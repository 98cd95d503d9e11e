#include "plain_rows.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "core/bf12.h"
#include "core/error.h"
#include "core/op_info.h"
#include "core/ops.gen.h"

namespace weft {
namespace {

constexpr uint32_t kPanel = 32;

// One bf12 panel as pairs [ceil(k/2)][32][2].
std::vector<uint16_t> decodeBf12(const uint8_t* panel, uint32_t k) {
  const uint32_t words = (k + 1) / 2 * 64;
  std::vector<uint16_t> pairs(words);
  const uint8_t* stream = panel + bf12StreamAt(k);
  for (uint32_t i = 0; i < words; i++) {
    const uint8_t* pair = stream + uint64_t{i / 64} * kBf12PairBytes;
    const uint32_t p = bf12LowByteOf(i % 64);
    const uint32_t code = pair[kBf12CodesAt + bf12CodeByteOf(p)] >> bf12CodeShiftOf(p) & 15;
    pairs[i] = static_cast<uint16_t>(panel[code] << 8 | pair[p]);
  }
  for (uint32_t i = 0; i < bf12ExceptionCount(panel, k); i++) {
    const Bf12Exception e(bf12Exceptions(panel)[i]);
    uint16_t& value = pairs[e.k / 2 * 64 + e.output * 2 + e.k % 2];
    value = static_cast<uint16_t>(e.high << 8 | (value & 0xff));
  }
  return pairs;
}

struct Matrix { uint32_t buffer, words, n, k, dtype; };

class PlainRows {
 public:
  explicit PlainRows(Recording& recording) : r_(recording) {
    for (const auto& buffer : r_.buffers) next_ = std::max(next_, buffer.id + 1);
  }

  void run() {
    for (size_t at = 0; at + 2 <= r_.words.size() && r_.words[at + 1] >= 2; at += r_.words[at + 1]) {
      const uint32_t code = r_.words[at];
      if (code >= kOpCount || !kOps[code].name || at + r_.words[at + 1] > r_.words.size()) return;   // compiling it says why
      change(kOps[code], r_.words.data() + at + 2);
    }
  }

 private:
  void change(const OpInfo& op, uint32_t* operands) {
    uint32_t* params = operands + 2 * op.operandCount;
    for (uint32_t i = 0; i < op.operandCount; i++) {
      const OperandInfo& operand = op.operands[i];
      if (operand.kind != OperandKind::kPacked || operand.layout == kNoParam || params[operand.layout] != 0) continue;
      uint32_t& dtype = params[operand.dtype];
      if (dtype == kDTypeInt8) continue;
      const Matrix m{operands[2 * i], operands[2 * i + 1], params[operand.rows.param], params[operand.cols.param], dtype};
      operands[2 * i] = rowsOf(m);
      operands[2 * i + 1] = 0;
      params[operand.layout] = 1;
      if (dtype == kDTypeBf12) dtype = kDTypeBf16;
    }
  }

  // The buffer with the matrix's rows; made once.
  uint32_t rowsOf(const Matrix& m) {
    const std::array<uint32_t, 5> key{m.buffer, m.words, m.n, m.k, m.dtype};
    const auto known = made_.find(key);
    if (known != made_.end()) return known->second;
    const bool wide = m.dtype == kDTypeF32;
    const uint64_t value = wide ? 4 : 2, pair = m.dtype == kDTypeBf16 || m.dtype == kDTypeBf12 ? 2 : 1;
    const uint64_t depth = (m.k + pair - 1) / pair * pair;
    const uint64_t panelBytes = m.dtype == kDTypeBf12 ? bf12PanelBytes(m.k) : depth * kPanel * value;
    const std::vector<uint8_t> panels = contents(m.buffer, uint64_t{m.words} * 4, (m.n + kPanel - 1) / kPanel * panelBytes);
    r_.owned.emplace_back(uint64_t{m.n} * m.k * value);
    std::vector<uint8_t>& rows = r_.owned.back();
    for (uint32_t first = 0; first < m.n; first += kPanel) {
      const uint8_t* panel = panels.data() + first / kPanel * panelBytes;
      std::vector<uint16_t> decoded;
      if (m.dtype == kDTypeBf12) {
        decoded = decodeBf12(panel, m.k);
        panel = reinterpret_cast<const uint8_t*>(decoded.data());
      }
      for (uint32_t output = 0; output < std::min(kPanel, m.n - first); output++) {
        for (uint32_t k = 0; k < m.k; k++) {
          const uint64_t at = (k / pair * kPanel + output) * pair + k % pair;
          memcpy(rows.data() + (uint64_t{first + output} * m.k + k) * value, panel + at * value, value);
        }
      }
    }
    const uint32_t id = next_++;
    r_.buffers.push_back({id, rows.size(), "rows"});
    r_.chunks.push_back({id, 0, rows.data(), rows.size()});
    return made_[key] = id;
  }

  std::vector<uint8_t> contents(uint32_t id, uint64_t offset, uint64_t bytes) const {
    const auto buffer = std::find_if(r_.buffers.begin(), r_.buffers.end(), [&](const auto& b) { return b.id == id; });
    if (buffer == r_.buffers.end() || offset > buffer->bytes || bytes > buffer->bytes - offset) {
      throw Error("list_invalid", format("a matrix reaches beyond buffer %u.", id));
    }
    std::vector<uint8_t> whole(buffer->bytes);
    for (const auto& chunk : r_.chunks) {
      if (chunk.buffer == id) memcpy(whole.data() + chunk.offset, chunk.data, chunk.bytes);
    }
    return std::vector<uint8_t>(whole.begin() + static_cast<ptrdiff_t>(offset), whole.begin() + static_cast<ptrdiff_t>(offset + bytes));
  }

  Recording& r_;
  uint32_t next_ = kFirstBufferId;
  std::map<std::array<uint32_t, 5>, uint32_t> made_;
};

}  // namespace

Recording withPlainRows(Recording recording) {
  PlainRows(recording).run();
  return recording;
}

}  // namespace weft
