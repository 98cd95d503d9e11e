#include "program.h"

#include <algorithm>
#include <cstring>

#include "bf12.h"
#include "error.h"
#include "int8_format.h"

namespace weft {
namespace {

using uint128_t = unsigned __int128;

constexpr const char* kBindingNames[] = {"", "frame", "results", "masks", "hidden"};
constexpr uint32_t kPanel = 32;

std::string bindingName(uint32_t id) {
  return id < sizeof kBindingNames / sizeof *kBindingNames ? kBindingNames[id] : "binding " + std::to_string(id);
}

// A dimension's value; the params that give the dimensions of an operand that is there are at least 1.
uint64_t valueOf(const DimInfo& dim, const uint32_t* params, const ParamInfo* infos, const OpSite& site) {
  if (dim.param == kNoParam) return dim.constant;
  const uint32_t value = params[dim.param];
  if (value == 0) site.fail(format("%s is 0", infos[dim.param].name));
  return value;
}

uint128_t packedBytes(uint64_t n, uint64_t k, uint32_t dtype, bool plain) {
  const uint32_t size = dtype == kDTypeF32 ? 4 : 2;
  if (plain) return (uint128_t)n * k * size;
  const uint64_t panels = (n + kPanel - 1) / kPanel, depth = dtype == kDTypeBf16 ? 2 : 1;    // bf16 stands in pairs of k
  if (dtype == kDTypeInt8) return (uint128_t)panels * int8PanelBytes(k);
  if (dtype == kDTypeBf12) return (uint128_t)panels * bf12PanelBytes(static_cast<uint32_t>(k));
  return (uint128_t)(panels * kPanel) * ((k + depth - 1) / depth * depth) * size;
}

// Bytes of a value of rows: f32, or bf16 where a param says so.
uint32_t rowValueBytes(const OperandInfo& operand, uint64_t ld, const uint32_t* params, const OpInfo& op, const OpSite& site) {
  const uint32_t type = operand.dtype == kNoParam ? uint32_t{kDTypeF32} : params[operand.dtype];
  if (type == kDTypeF32) return 4;
  if (type != kDTypeBf16) site.fail(format("%s = %u is no type of rows: %s is f32 or bf16", op.params[operand.dtype].name, type, operand.name));
  if (ld % 2) site.fail(format("%s = %llu is odd: rows of bf16 begin at multiples of 4 bytes", op.params[operand.ld.param].name, (unsigned long long)ld));
  return 2;
}

// Bytes from an operand's first to its last value.
uint128_t extentOf(const OperandInfo& operand, const uint32_t* params, const OpInfo& op, const OpSite& site) {
  const uint64_t rows = valueOf(operand.rows, params, op.params, site), cols = valueOf(operand.cols, params, op.params, site);
  switch (operand.kind) {
    case OperandKind::kRows: {
      const uint64_t ld = valueOf(operand.ld, params, op.params, site);
      if (ld < cols) {
        site.fail(format("%s of %s = %llu is less than its %llu columns", op.params[operand.ld.param].name, operand.name,
                         (unsigned long long)ld, (unsigned long long)cols));
      }
      return ((uint128_t)(rows - 1) * ld + cols) * rowValueBytes(operand, ld, params, op, site);
    }
    case OperandKind::kPacked: {
      const uint32_t dtype = params[operand.dtype];
      const bool plain = operand.layout != kNoParam && params[operand.layout] != 0;
      if (dtype > kDTypeBf12 || (dtype == kDTypeBf12 && plain)) {
        site.fail(format("%s = %u is no dtype of %s", op.params[operand.dtype].name, dtype, operand.name));
      }
      if (dtype == kDTypeBf12 && cols >= kBf12KMax) site.fail(format("%s has more columns than bf12 takes", operand.name));
      return packedBytes(rows, cols, dtype, plain);
    }
    case OperandKind::kArena: return (uint128_t)rows * cols;
    case OperandKind::kTable: return (uint128_t)rows * cols * 4;
  }
  site.fail("has an operand of no kind");
}

// canonical: by slot, the first slot that is the same buffer; nullptr: all slots are different ones.
bool overlap(const Place& a, const Place& b, const uint32_t* canonical) {
  if (a.slot == 0 || b.slot == 0) return false;
  const bool same = canonical ? canonical[a.slot] == canonical[b.slot] : a.slot == b.slot;
  return same && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

constexpr bool argsFit() {
  for (const OpInfo& op : kOps) {
    if (op.argsBytes > kMaxArgsBytes) return false;
  }
  return true;
}
static_assert(argsFit() && sizeof(void*) == 8, "Args structs are filled in by their layout: pointers, then words");

bool isWritten(const OperandInfo& operand) { return operand.access != Access::kIn; }
bool holdsIndices(const OperandInfo& operand) { return operand.elem == Elem::kI32; }

}  // namespace

Program::Program(std::vector<uint32_t> words, const FindBuffer& find) : words_(std::move(words)) {
  for (size_t word = 0; word < words_.size();) {
    const size_t left = words_.size() - word;
    const size_t length = left >= 2 ? words_[word + 1] : 0;
    if (length < 2 || length > left) {
      throw Error("list_invalid", format("op %zu is cut off at word %zu of %zu.", ops_.size(), word, words_.size()));
    }
    readOp(word, length, find);
    word += length;
  }
  markWritersOfIndices();
}

void Program::readOp(size_t word, size_t length, const FindBuffer& find) {
  const uint32_t code = words_[word];
  const uint32_t number = static_cast<uint32_t>(ops_.size());
  if (code >= kOpCount || !kOps[code].name) throw Error("list_invalid", format("op %u has the unknown code %u.", number, code));
  const OpInfo& info = kOps[code];
  const OpSite site{number, info.name};
  const size_t wanted = 2 + 2 * size_t{info.operandCount} + info.paramCount;
  if (length != wanted) site.fail(format("has %zu words instead of %zu", length, wanted));

  const uint32_t* operands = words_.data() + word + 2;
  const uint32_t* params = operands + 2 * info.operandCount;
  const ProgramOp op{code, static_cast<uint32_t>(params - words_.data()), static_cast<uint32_t>(places_.size()), false};
  checkParams(op, site);
  for (uint32_t i = 0; i < info.operandCount; i++) {
    const Place place = placeOf(info, i, operands + 2 * i, params, find, site);
    places_.push_back(place);
    if (place.slot == 0 || place.slot >= kFirstBufferId || place.offset + place.bytes <= boundBytes_[place.slot]) continue;
    boundBytes_[place.slot] = place.offset + place.bytes;
    boundBy_[place.slot] = number;
  }
  ops_.push_back(op);

  // Pointers tell present from absent; nothing is read through them.
  alignas(8) uint8_t args[kMaxArgsBytes] = {};
  static uint8_t somewhere;
  for (uint32_t i = 0; i < info.operandCount; i++) {
    uint8_t* pointer = places_[op.places + i].slot ? &somewhere : nullptr;
    memcpy(args + i * sizeof pointer, &pointer, sizeof pointer);
  }
  memcpy(args + info.operandCount * sizeof(void*), params, info.paramCount * 4);
  checkShapes(code, args, site);
  checkOverlaps(op, site, nullptr);
}

void Program::checkParams(const ProgramOp& op, const OpSite& site) {
  const OpInfo& info = kOps[op.code];
  for (uint32_t i = 0; i < info.paramCount; i++) {
    const uint32_t value = words_[op.params + i];
    const ParamInfo& param = info.params[i];
    if (param.kind == ParamKind::kU32 && value > INT32_MAX) site.fail(format("%s = %u is above 2^31 - 1", param.name, value));
    if (param.kind != ParamKind::kCount) continue;
    if (value >= kHeaderWords) site.fail(format("%s = %u is no header word of a frame", param.name, value));
    countsFromFrame_ |= value != 0;
  }
}

uint32_t Program::slotOf(uint32_t id, const FindBuffer& find, const OpSite& site, const char* operand) {
  if (id < kFirstBufferId) return id;
  const auto known = slots_.find(id);
  if (known != slots_.end()) return known->second;
  const BufferRef buffer = find(id);
  if (!buffer || buffer->freed) site.fail(format("%s: there is no buffer %u", operand, id));
  bufferIds_.push_back(id);
  buffers_.push_back(buffer);
  return slots_[id] = kFirstBufferId + static_cast<uint32_t>(buffers_.size() - 1);
}

Place Program::placeOf(const OpInfo& info, uint32_t index, const uint32_t* words, const uint32_t* params, const FindBuffer& find,
    const OpSite& site) {
  const OperandInfo& operand = info.operands[index];
  if (words[0] == 0) {
    if (!operand.optional) site.fail(format("%s is missing", operand.name));
    return {0, 0, 0};
  }
  const uint32_t slot = slotOf(words[0], find, site, operand.name);
  const uint64_t offset = uint64_t{words[1]} * 4;
  const uint128_t end = extentOf(operand, params, info, site) + offset;
  const bool isBinding = slot < kFirstBufferId;  // its size is known when it is bound
  const BufferRef buffer = isBinding ? nullptr : buffers_[slot - kFirstBufferId].lock();
  if (!isBinding && !buffer) site.fail(format("%s: buffer %u was freed", operand.name, words[0]));
  const uint64_t limit = isBinding ? uint64_t{1} << 46 : buffer->bytes;
  if (end > limit) {
    site.fail(format("%s reaches byte %.0f of %s, which has %llu", operand.name, static_cast<double>(end),
                     isBinding ? bindingName(slot).c_str() : buffer->label.c_str(), (unsigned long long)limit));
  }
  return {slot, offset, static_cast<uint64_t>(end) - offset};
}

// What an op writes overlaps nothing else that it is given: a kernel may read its operands in any order, in any tile, and
// must not find its own results among the indices that it follows.
void Program::checkOverlaps(const ProgramOp& op, const OpSite& site, const uint32_t* canonical) const {
  const OpInfo& info = kOps[op.code];
  for (uint32_t i = 0; i < info.operandCount; i++) {
    if (!isWritten(info.operands[i])) continue;
    for (uint32_t j = 0; j < info.operandCount; j++) {
      if (j == i) continue;
      if (overlap(places(op)[i], places(op)[j], canonical)) {
        site.fail(format("%s overlaps %s", info.operands[i].name, info.operands[j].name));
      }
    }
  }
}

void Program::markWritersOfIndices() {
  std::vector<Place> read;
  for (const ProgramOp& op : ops_) {
    for (uint32_t i = 0; i < kOps[op.code].operandCount; i++) {
      if (!holdsIndices(kOps[op.code].operands[i])) continue;
      const Place& place = places(op)[i];
      const auto same = [&](const Place& p) { return p.slot == place.slot && p.offset == place.offset && p.bytes == place.bytes; };
      if (std::none_of(read.begin(), read.end(), same)) read.push_back(place);
    }
  }
  for (ProgramOp& op : ops_) {
    for (uint32_t i = 0; i < kOps[op.code].operandCount && !op.writesIndices; i++) {
      if (!isWritten(kOps[op.code].operands[i])) continue;
      const Place& place = places(op)[i];
      op.writesIndices = std::any_of(read.begin(), read.end(), [&](const Place& p) { return overlap(place, p, nullptr); });
    }
  }
}

void Program::link(std::shared_ptr<const Program> program, const Bindings& bindings, LinkedProgram& linked) {
  const Program& p = *program;
  linked.release();
  linked.aliased = false;
  linked.bases.assign(kFirstBufferId + p.buffers_.size(), nullptr);
  linked.held.reserve(p.buffers_.size() + 4);
  const auto hold = [&](uint32_t slot, BufferRef buffer) {
    linked.bases[slot] = buffer->data();
    linked.held.push_back(std::move(buffer));
  };
  const uint64_t headerBytes = p.countsFromFrame_ ? kHeaderWords * 4 : 0;
  for (uint32_t id = 1; id < kFirstBufferId; id++) {
    const uint64_t needed = std::max(p.boundBytes_[id], id == kBindingFrame ? headerBytes : 0);
    if (!needed) continue;
    const OpSite by = p.ops_.empty() ? OpSite{0, ""} : p.site(p.boundBy_[id]);
    if (!bindings[id] || bindings[id]->freed) by.fail(bindingName(id) + " is not bound");
    if (bindings[id]->bytes < needed) {
      by.fail(format("%s needs %llu bytes, %s has %llu", bindingName(id).c_str(), (unsigned long long)needed,
                     bindings[id]->label.c_str(), (unsigned long long)bindings[id]->bytes));
    }
    hold(id, bindings[id]);
  }
  for (size_t i = 0; i < p.buffers_.size(); i++) {
    BufferRef buffer = p.buffers_[i].lock();
    if (!buffer || buffer->freed) throw Error("list_invalid", format("buffer %u, which the list names, was freed.", p.bufferIds_[i]));
    hold(kFirstBufferId + static_cast<uint32_t>(i), std::move(buffer));
  }
  p.checkAliases(linked);
  linked.program = std::move(program);
}

// A buffer may be bound under two names, or be named by the list too: then what was checked slot by slot does not hold.
void Program::checkAliases(LinkedProgram& linked) const {
  const auto canonicalOf = [&](uint32_t slot) {
    for (uint32_t bound = 1; bound < std::min(slot, kFirstBufferId) && linked.bases[slot]; bound++) {
      if (linked.bases[bound] == linked.bases[slot]) return bound;
    }
    return slot;
  };
  for (uint32_t slot = 0; slot < linked.bases.size() && !linked.aliased; slot++) linked.aliased = canonicalOf(slot) != slot;
  if (!linked.aliased) return;
  std::vector<uint32_t> canonical(linked.bases.size());
  for (uint32_t slot = 0; slot < canonical.size(); slot++) canonical[slot] = canonicalOf(slot);
  for (uint32_t i = 0; i < ops_.size(); i++) checkOverlaps(ops_[i], site(i), canonical.data());
}

void Program::place(uint32_t index, const LinkedProgram& linked, void* args) const {
  const ProgramOp& op = ops_[index];
  const OpInfo& info = kOps[op.code];
  uint8_t* out = static_cast<uint8_t*>(args);
  for (uint32_t i = 0; i < info.operandCount; i++) {
    const Place& place = places(op)[i];
    uint8_t* pointer = place.slot ? linked.bases[place.slot] + place.offset : nullptr;
    memcpy(out + i * sizeof pointer, &pointer, sizeof pointer);
  }
  memcpy(out + info.operandCount * sizeof(void*), words_.data() + op.params, info.paramCount * 4);
}

void Program::resolve(uint32_t index, const LinkedProgram& linked, const int32_t* header, void* args) const {
  place(index, linked, args);
  const OpInfo& info = kOps[ops_[index].code];
  uint32_t* params = reinterpret_cast<uint32_t*>(static_cast<uint8_t*>(args) + info.operandCount * sizeof(void*));
  for (uint32_t i = 0; i < info.paramCount; i++) {
    const ParamInfo& param = info.params[i];
    if (param.kind == ParamKind::kCount) params[i] = countOf(index, param, params[i], params, header);
  }
}

uint32_t Program::countOf(uint32_t index, const ParamInfo& param, uint32_t headerWord, const uint32_t* params,
    const int32_t* header) const {
  const uint32_t capacity = params[param.capacity];
  const int64_t from = param.from == kNoParam ? 0 : int64_t{params[param.from]};
  if (headerWord == 0 && param.from == kNoParam) return capacity;
  const int64_t counted = headerWord == 0 ? from + capacity : header[headerWord];
  if (counted < 0) site(index).fail(format("%s: header[%u] of the frame is %lld", param.name, headerWord, (long long)counted));
  if (param.from != kNoParam) return static_cast<uint32_t>(std::clamp<int64_t>(counted - from, 0, capacity));
  if (counted > capacity) {
    site(index).fail(format("%s: header[%u] of the frame is %lld, more than %s = %u", param.name, headerWord, (long long)counted,
                            kOps[ops_[index].code].params[param.capacity].name, capacity));
  }
  return static_cast<uint32_t>(counted);
}

}  // namespace weft
