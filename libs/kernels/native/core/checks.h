// What stands between a recorded list and memory. Kernels trust their arguments, so whatever a list can get wrong is
// refused here, by the op's number and the operand's or bound's name.
//
//   shapes    once per recorded list: what the generic check of extents (program.cpp) cannot know of an op
//   indices   before an op runs: what stands inside its buffers. O(rows), and asked once per list for what each layer
//             reads again
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace weft {

// An op of a list, to be named in errors.
struct OpSite {
  uint32_t number;
  const char* name;

  // Throws list_invalid: "op 12 (linear): …".
  [[noreturn]] void fail(const std::string& what) const;
  void require(bool holds, const char* what) const { if (!holds) fail(what); }
};

// Questions about indices that were answered since the last write to memory in which indices stand.
class Verified {
 public:
  using Question = std::array<uint64_t, 10>;

  // True when this question was put before; remembers it when not.
  bool ask(const Question& question);
  void clear() { questions_.clear(); }

 private:
  std::vector<Question> questions_;
};

// args: the op's Args struct. Pointers only tell operands that are present from absent ones.
void checkShapes(uint32_t code, const void* args, const OpSite& site);

// Returns the adapter bytes that the op will read from pages.
uint64_t checkIndices(uint32_t code, const void* args, const OpSite& site, Verified& verified);

// Parts of checkIndices, and of checkShapes for LoRA.
struct LoraShrinkArgs;
struct LoraExpandArgs;
struct EmbedShrinkArgs;
struct EmbedReplaceArgs;
struct HeadReplaceArgs;
struct LatentLoraArgs;
struct ExpertLinearArgs;
struct ExpertShrinkArgs;
struct ExpertExpandArgs;
struct SampleArgs;
uint64_t checkAdapters(const LoraShrinkArgs& a, const OpSite& site, Verified& verified);
uint64_t checkAdapters(const LoraExpandArgs& a, const OpSite& site, Verified& verified);
uint64_t checkAdapters(const ExpertShrinkArgs& a, const OpSite& site, Verified& verified);
uint64_t checkAdapters(const ExpertExpandArgs& a, const OpSite& site, Verified& verified);
uint64_t checkAdapters(const EmbedShrinkArgs& a, const OpSite& site, Verified& verified);
uint64_t checkAdapters(const EmbedReplaceArgs& a, const OpSite& site, Verified& verified);
uint64_t checkAdapters(const HeadReplaceArgs& a, const OpSite& site, Verified& verified);
uint64_t checkAdapters(const LatentLoraArgs& a, const OpSite& site, Verified& verified);
uint64_t checkExperts(const ExpertLinearArgs& a, const OpSite& site);
void checkSampling(const SampleArgs& a, const OpSite& site);

// All of values[0 … count) lie in [lowest, bound), or the op fails: "tokens[3] = 70000 is not below vocab = 49152".
void requireBelow(const OpSite& site, const char* name, const int32_t* values, uint64_t count, uint32_t bound,
                  const char* boundName, int32_t lowest = 0);

}  // namespace weft
