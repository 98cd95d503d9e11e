#include "gpu/list_builder.h"

#include <cstring>

#include "core/error.h"

namespace weft {
namespace gpu {
namespace {

// The values of `given` in the order of `infos`: every name once, and no other.
template <typename Info, typename Given, typename Take>
void inOrder(const char* op, const Info* infos, uint32_t count, const Given& given, const Take& take) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t found = 0;
    for (const auto& [name, value] : given) {
      if (strcmp(name, infos[i].name) != 0) continue;
      take(infos[i], value);
      found++;
    }
    if (found != 1) throw Error("list_invalid", format("%s: %s stands there %u times.", op, infos[i].name, found));
  }
  if (given.size() == count) return;
  for (const auto& [name, value] : given) {
    bool known = false;
    for (uint32_t i = 0; i < count; i++) known |= strcmp(name, infos[i].name) == 0;
    if (!known) throw Error("list_invalid", format("%s has no %s.", op, name));
  }
}

}  // namespace

Value::Value(float value) : isFloat_(true) { memcpy(&bits_, &value, sizeof value); }

void ListBuilder::add(uint32_t code, const Operands& operands, const Params& params) {
  const OpInfo& info = kOps[code];
  words_.push_back(code);
  words_.push_back(2 + 2 * info.operandCount + info.paramCount);
  inOrder(info.name, info.operands, info.operandCount, operands, [&](const OperandInfo& operand, const Ref& ref) {
    const bool fits = ref.offset % 4 == 0 && ref.offset / 4 <= UINT32_MAX;
    if (!fits) throw Error("list_invalid", format("%s: %s lies where none can.", info.name, operand.name));
    words_.push_back(ref.id);
    words_.push_back(static_cast<uint32_t>(ref.offset / 4));
  });
  inOrder(info.name, info.params, info.paramCount, params, [&](const ParamInfo& param, const Value& value) {
    const bool isFloat = param.kind == ParamKind::kF32;
    if (value.isFloat() != isFloat) throw Error("list_invalid", format("%s: %s is of the other kind of number.", info.name, param.name));
    words_.push_back(value.bits());
  });
}

uint32_t RecordedOp::param(const char* name) const {
  const uint32_t* params = words_ + 2 + 2 * info().operandCount;
  for (uint32_t i = 0; i < info().paramCount; i++) {
    if (strcmp(info().params[i].name, name) == 0) return params[i];
  }
  throw Error("list_invalid", format("%s has no %s.", info().name, name));
}

std::vector<RecordedOp> opsOf(const std::vector<uint32_t>& words) {
  std::vector<RecordedOp> ops;
  for (size_t at = 0; at < words.size(); at += words[at + 1]) ops.emplace_back(words.data() + at);
  return ops;
}

}  // namespace gpu
}  // namespace weft
