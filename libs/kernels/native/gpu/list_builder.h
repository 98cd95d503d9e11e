// Lists of ops, by the names that the op table gives their operands and params.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "core/ops.gen.h"

namespace weft {
namespace gpu {

// Where an operand begins. id 0: it is absent; below kFirstBufferId: a binding.
struct Ref {
  uint32_t id = 0;
  uint64_t offset = 0;
};

class Value {
 public:
  Value(uint32_t value) : bits_(value), isFloat_(false) {}
  Value(float value);
  uint32_t bits() const { return bits_; }
  bool isFloat() const { return isFloat_; }

 private:
  uint32_t bits_;
  bool isFloat_;
};

using Operands = std::vector<std::pair<const char*, Ref>>;
using Params = std::vector<std::pair<const char*, Value>>;

template <typename Pairs>
Pairs operator+(Pairs first, const Pairs& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

class ListBuilder {
 public:
  // Throws list_invalid where a name is missing, unknown or given twice, or a number is of the wrong kind.
  void add(uint32_t code, const Operands& operands, const Params& params);
  const std::vector<uint32_t>& words() const { return words_; }

 private:
  std::vector<uint32_t> words_;
};

// An op of a list, read by names.
class RecordedOp {
 public:
  explicit RecordedOp(const uint32_t* words) : words_(words) {}
  uint32_t code() const { return words_[0]; }
  const OpInfo& info() const { return kOps[words_[0]]; }
  uint32_t param(const char* name) const;

 private:
  const uint32_t* words_;
};
std::vector<RecordedOp> opsOf(const std::vector<uint32_t>& words);

}  // namespace gpu
}  // namespace weft
