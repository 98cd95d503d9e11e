#include "fuzz.h"

#include <cstring>
#include <random>

#include "error.h"

namespace weft {
namespace {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  uint64_t below(uint64_t bound) { return bound ? random_() % bound : 0; }

  // Near what it was, on an edge, or anything.
  uint32_t value(uint32_t old) {
    static constexpr uint32_t kEdges[] = {0, 1, 2, 15, 16, 31, 32, 63, 64, 127, 128, 0x7f, 0xffff, 0x10000, 0x7fffffff,
        0x80000000, 0xfffffffe, 0xffffffff, 0x7f800000, 0x7fc00000, 0x3f800000};
    switch (below(6)) {
      case 0: return old + 1;
      case 1: return old - 1;
      case 2: return old ^ 1u << below(32);
      case 3: return kEdges[below(sizeof kEdges / sizeof *kEdges)];
      case 4: return static_cast<uint32_t>(below(256));
      default: return static_cast<uint32_t>(random_());
    }
  }

  void change(std::vector<uint32_t>& words) {
    if (words.empty()) return;
    uint32_t& word = words[below(words.size())];
    switch (below(12)) {
      case 0: words.resize(below(words.size() + 1)); break;
      case 1: word = words[below(words.size())]; break;
      default: word = value(word);
    }
  }

 private:
  std::mt19937_64 random_;
};

struct Region { uint32_t buffer; uint64_t offset, bytes; };

// Where the list's ops find indices and counts.
std::vector<Region> metadata(const Recording& recording, const Session& session) {
  std::vector<Region> regions;
  std::map<uint32_t, uint32_t> bound;
  for (const auto& b : recording.bindings) bound[b.binding] = b.buffer;
  if (bound.count(kBindingFrame)) regions.push_back({bound[kBindingFrame], 0, kHeaderWords * 4});
  const auto find = [&](uint32_t id) { return session.buffer(id); };
  const Program program(recording.words, find);
  for (const ProgramOp& op : program.ops()) {
    const OpInfo& info = kOps[op.code];
    for (uint32_t i = 0; i < info.operandCount; i++) {
      const Place& place = program.places(op)[i];
      const uint32_t id = recording.words[op.params - 2 * (info.operandCount - i)];
      if (!place.slot || info.operands[i].elem != Elem::kI32) continue;
      regions.push_back({id < kFirstBufferId ? bound[id] : id, place.offset, place.bytes});
    }
  }
  return regions;
}

void changeWord(Mutator& mutator, const Session& session, const Region& region) {
  uint8_t* word = session.buffer(region.buffer)->data() + region.offset + mutator.below(region.bytes / 4) * 4;
  uint32_t value;
  memcpy(&value, word, 4);
  value = mutator.value(value);
  memcpy(word, &value, 4);
}

}  // namespace

FuzzResult fuzz(const Recording& recording, Session& session, ReplayDevice& device, uint64_t runs, uint64_t seed) {
  const std::vector<Region> regions = metadata(recording, session);
  std::vector<Region> contents;
  for (const auto& buffer : recording.buffers) {
    if (buffer.bytes >= 4) contents.push_back({buffer.id, 0, buffer.bytes});
  }
  if (regions.empty() || contents.empty()) throw Error("option_invalid", "there is nothing in the recording to change.");
  FuzzResult result;
  for (uint64_t run = 0; run < runs; run++) {
    Mutator mutator(seed * 1'000'003 + run);  // so that run `run` of a seed can be had alone
    session.restore();
    std::vector<uint32_t> words = recording.words;
    const uint64_t kind = mutator.below(4), changes = mutator.below(3) + 1;
    for (uint64_t i = 0; i < changes; i++) {
      if (kind == 0 || kind == 3) mutator.change(words);
      if (kind == 1 || kind == 3) changeWord(mutator, session, regions[mutator.below(regions.size())]);
      if (kind == 2) changeWord(mutator, session, contents[mutator.below(contents.size())]);
    }
    try {
      session.run(device, words, false);
      result.ran++;
    } catch (const Error&) {
      result.refused++;
    }
  }
  return result;
}

}  // namespace weft
