#include "cuda/fault.h"

#include "core/error.h"

namespace weft {
namespace cuda {
namespace {

const char* nameOf(Bound bound) {
  switch (bound) {
    case Bound::kCount: return "a count of the frame's header";
    case Bound::kToken: return "a token";
    case Bound::kPosition: return "a position";
    case Bound::kSlot: return "a slot";
    case Bound::kLength: return "a slot's length";
    case Bound::kSegment: return "a segment";
    case Bound::kRows: return "rows of a segment";
    case Bound::kPageTable: return "a segment's part of the page table";
    case Bound::kPage: return "a page";
    case Bound::kBlock: return "a position's block among its segment's";
    case Bound::kIndex: return "index";
    case Bound::kGroup: return "a group's rows";
    case Bound::kGroupRow: return "a row of a group";
    case Bound::kAdapterSlot: return "an adapter slot";
    case Bound::kRun: return "a run of an adapter's table";
    case Bound::kUnit: return "a unit's place in the arena";
    case Bound::kSampleRecord: return "a word of a sample record";
    case Bound::kBias: return "a bias";
    case Bound::kMask: return "a mask row";
    case Bound::kLogits: return "a logit row";
    case Bound::kExpert: return "an expert";
    case Bound::kSpan: return "rows of an expert's span";
  }
  return "an index";
}

}  // namespace

std::string describe(const Fault& fault) {
  return format("%s at %u is %d, not below %u", nameOf(fault.bound), fault.at, fault.value, fault.limit);
}

}  // namespace cuda
}  // namespace weft
