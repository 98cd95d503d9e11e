// A recorded list, read and checked: every op known, every operand inside its buffer. Bindings are filled in by `link`,
// once for each submit; only indices inside buffers are left to be checked while it runs.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "buffer.h"
#include "checks.h"
#include "ops.gen.h"

namespace weft {

using Bindings = std::array<BufferRef, kFirstBufferId>;

// Bytes [offset, offset + bytes) of a slot. Slots below kFirstBufferId are bindings, the others the list's own buffers;
// slot 0 is the absent operand.
struct Place {
  uint32_t slot;
  uint64_t offset, bytes;
};

struct ProgramOp {
  uint32_t code;
  uint32_t params;        // index of its first param in Program::words
  uint32_t places;        // index of its first operand in Program::places
  bool writesIndices;     // into memory that ops of this list read indices from
};

class Program;

// A program with every slot backed. Holds its buffers until it is released or gone; linked again, it takes no new memory.
struct LinkedProgram {
  std::shared_ptr<const Program> program;
  std::vector<BufferRef> held;
  std::vector<uint8_t*> bases;      // by slot
  bool aliased = false;             // two slots are one buffer: whatever an op writes may be an index

  void release() {
    program.reset();
    held.clear();
  }
};

// Room for any op's Args struct.
constexpr size_t kMaxArgsBytes = 256;

class Program {
 public:
  // The buffer with an id, or nullptr.
  using FindBuffer = std::function<BufferRef(uint32_t id)>;

  // Throws list_invalid, naming op and operand.
  Program(std::vector<uint32_t> words, const FindBuffer& find);

  // Throws list_invalid when a binding is missing or too small, or a buffer was freed.
  static void link(std::shared_ptr<const Program> program, const Bindings& bindings, LinkedProgram& linked);

  // Fills the op's Args for a device that counts by itself: counts stay header words.
  void place(uint32_t index, const LinkedProgram& linked, void* args) const;
  // Fills the op's Args. header: the frame's header words, or nullptr. Throws list_invalid when a count is above its capacity.
  void resolve(uint32_t index, const LinkedProgram& linked, const int32_t* header, void* args) const;

  OpSite site(uint32_t index) const { return {index, kOps[ops_[index].code].name}; }
  const std::vector<ProgramOp>& ops() const { return ops_; }
  const Place* places(const ProgramOp& op) const { return places_.data() + op.places; }
  const std::vector<uint32_t>& words() const { return words_; }
  // Bytes of a binding, from its beginning, that ops of the list reach.
  uint64_t boundBytes(uint32_t binding) const { return boundBytes_[binding]; }
  bool countsFromFrame() const { return countsFromFrame_; }

 private:
  void readOp(size_t word, size_t length, const FindBuffer& find);
  uint32_t slotOf(uint32_t id, const FindBuffer& find, const OpSite& site, const char* operand);
  void checkParams(const ProgramOp& op, const OpSite& site);
  Place placeOf(const OpInfo& info, uint32_t index, const uint32_t* words, const uint32_t* params, const FindBuffer& find,
      const OpSite& site);
  void checkOverlaps(const ProgramOp& op, const OpSite& site, const uint32_t* canonical) const;
  void checkAliases(LinkedProgram& linked) const;
  void markWritersOfIndices();
  uint32_t countOf(uint32_t index, const ParamInfo& param, uint32_t headerWord, const uint32_t* params, const int32_t* header) const;

  std::vector<uint32_t> words_;
  std::vector<ProgramOp> ops_;
  std::vector<Place> places_;
  std::vector<std::weak_ptr<Buffer>> buffers_;   // slot - kFirstBufferId
  std::vector<uint32_t> bufferIds_;
  std::unordered_map<uint32_t, uint32_t> slots_;  // by buffer id
  std::array<uint64_t, kFirstBufferId> boundBytes_{};
  std::array<uint32_t, kFirstBufferId> boundBy_{};  // the op that needs most of it
  bool countsFromFrame_ = false;
};

}  // namespace weft
