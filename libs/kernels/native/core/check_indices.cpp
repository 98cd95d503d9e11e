#include <algorithm>

#include "checks.h"
#include "error.h"
#include "ops.gen.h"

namespace weft {

void OpSite::fail(const std::string& what) const { throw Error("list_invalid", format("op %u (%s): ", number, name) + what + "."); }

bool Verified::ask(const Question& question) {
  if (std::find(questions_.begin(), questions_.end(), question) != questions_.end()) return true;
  questions_.push_back(question);
  return false;
}

void requireBelow(const OpSite& site, const char* name, const int32_t* values, uint64_t count, uint32_t bound,
                  const char* boundName, int32_t lowest) {
  const int32_t highest = static_cast<int32_t>(bound) - 1;  // params are below 2^31
  uint32_t outside = 0;
  for (uint64_t i = 0; i < count; i++) outside |= (values[i] < lowest) | (values[i] > highest);
  if (!outside) return;
  uint64_t i = 0;
  while (values[i] >= lowest && values[i] <= highest) i++;
  site.fail(values[i] < lowest ? format("%s[%llu] = %d is negative", name, (unsigned long long)i, values[i])
                               : format("%s[%llu] = %d is not below %s = %u", name, (unsigned long long)i, values[i], boundName, bound));
}

namespace {

template <typename T>
uint64_t id(const T* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

void check(const ResolveArgs& a, const OpSite& site, Verified&) {
  requireBelow(site, "rowSlots", a.rowSlots, a.count, a.nSlots, "nSlots");
  requireBelow(site, "tokenIds", a.tokenIds, a.count, a.vocab, "vocab", -1);
  for (uint32_t t = 0; t < a.count; t++) {
    if (a.tokenIds[t] >= 0) {
      requireBelow(site, "positions", a.positions + t, 1, a.maxLen, "maxLen");
      continue;
    }
    const int32_t slot = a.rowSlots[t];
    const int32_t* state = a.slots + uint64_t(slot) * kSlotWords;
    requireBelow(site, "slots.lastToken", state + kSlotLastToken, 1, a.vocab, "vocab");
    const int32_t length = state[kSlotLength];
    if (length >= 1 && uint32_t(length) <= a.maxLen) continue;
    // A known row before it leaves a length that is in range: its position was looked at above.
    bool written = false;
    for (uint32_t s = 0; s < t && !written; s++) written = a.rowSlots[s] == slot && a.tokenIds[s] >= 0;
    if (!written) site.fail(format("slots[%d].length = %d is not between 1 and maxLen = %u", slot, length, a.maxLen));
  }
}

void check(const EmbedArgs& a, const OpSite& site, Verified& verified) {
  if (verified.ask({kOpEmbed, id(a.tokens), a.count, a.limit})) return;
  requireBelow(site, "tokens", a.tokens, a.count, a.limit, "limit");
}

void check(const RmsNormArgs& a, const OpSite& site, Verified& verified) {
  if (!a.index || verified.ask({kOpRmsNorm, id(a.index), a.count, a.srcRows})) return;
  requireBelow(site, "index", a.index, a.count, a.srcRows, "srcRows");
}

// Positions that rows are turned by, for rope, ropeKv and latentKv.
template <typename Args>
void checkTurned(const Args& a, const OpSite& site, Verified& verified) {
  if (verified.ask({kOpRope, id(a.positions), a.count, a.maxPos})) return;
  requireBelow(site, "positions", a.positions, a.count, a.maxPos, "maxPos");
}

void check(const RopeArgs& a, const OpSite& site, Verified& verified) { checkTurned(a, site, verified); }

void check(const CopyPagesArgs& a, const OpSite& site, Verified&) {
  requireBelow(site, "pairs", a.pairs, uint64_t{a.count} * 2, a.nPages, "nPages");
}

// The part of the page table that a segment names for a KV group.
struct Blocks {
  int64_t first, offset, count;

  template <typename Args>
  static Blocks of(const Args& a, uint64_t segment) {
    const int32_t* words = a.segments + segment * kSegmentWords + kSegmentFirstBlock + 3 * a.kvGroup;
    return {words[0], words[1], words[2]};
  }
};

template <typename Args>
void checkBlocks(const Args& a, const OpSite& site, uint64_t segment, const Blocks& b) {
  if (b.first < 0 || b.offset < 0 || b.count < 0 || b.offset + b.count > a.tableSize) {
    site.fail(format("segments[%llu]: pageOffset = %lld with pageCount = %lld and firstBlock = %lld does not lie inside tableSize = %u",
                     (unsigned long long)segment, (long long)b.offset, (long long)b.count, (long long)b.first, a.tableSize));
  }
}

[[noreturn]] void failPosition(const OpSite& site, uint64_t row, int32_t position, uint64_t segment, const Blocks& b) {
  site.fail(format("positions[%llu] = %d needs blocks that segments[%llu] does not have: firstBlock = %lld, pageCount = %lld",
                   (unsigned long long)row, position, (unsigned long long)segment, (long long)b.first, (long long)b.count));
}

// What rows write into pages, for kvWrite, ropeKv and latentKv.
template <typename Args>
void checkWritten(const Args& a, const OpSite& site, Verified& verified) {
  const uint64_t counts = uint64_t{a.count} << 32 | a.nSegments;
  if (verified.ask({kOpKvWrite, id(a.positions), id(a.rowSegments), id(a.segments), id(a.pages), counts, a.tableSize, a.nPages, a.kvGroup})) return;
  requireBelow(site, "rowSegments", a.rowSegments, a.count, a.nSegments, "nSegments");
  for (uint64_t t = 0; t < a.count; t++) {
    const uint64_t segment = a.rowSegments[t];
    const Blocks b = Blocks::of(a, segment);
    checkBlocks(a, site, segment, b);
    const int64_t block = a.positions[t] >= 0 ? a.positions[t] / int(kBlockTokens) - b.first : -1;
    if (block < 0 || block >= b.count) failPosition(site, t, a.positions[t], segment, b);
    requireBelow(site, "pages", a.pages + b.offset + block, 1, a.nPages, "nPages");
  }
}

void check(const KvWriteArgs& a, const OpSite& site, Verified& verified) { checkWritten(a, site, verified); }

void check(const RopeKvArgs& a, const OpSite& site, Verified& verified) {
  checkTurned(a, site, verified);
  checkWritten(a, site, verified);
}

// What rows read from pages, for attention and latentAttention.
template <typename Args>
void checkRead(const Args& a, uint32_t window, const OpSite& site, Verified& verified) {
  const uint64_t counts = uint64_t{a.count} << 32 | a.segmentCount;
  if (verified.ask({kOpAttention, id(a.positions), id(a.segments), id(a.pages), counts, a.tableSize, a.nPages, a.kvGroup, window})) return;
  for (uint64_t s = 0; s < a.segmentCount; s++) {
    const int32_t* segment = a.segments + s * kSegmentWords;
    const int64_t rowStart = segment[kSegmentRowStart], rowCount = segment[kSegmentRowCount];
    if (rowStart < 0 || rowCount < 0 || rowStart + rowCount > a.count) {
      site.fail(format("segments[%llu]: rowStart = %lld with rowCount = %lld does not lie inside the %u rows",
                       (unsigned long long)s, (long long)rowStart, (long long)rowCount, a.count));
    }
    const Blocks b = Blocks::of(a, s);
    checkBlocks(a, site, s, b);
    requireBelow(site, "pages", a.pages + b.offset, b.count, a.nPages, "nPages");
    for (int64_t t = rowStart; t < rowStart + rowCount; t++) {
      const int64_t position = a.positions[t], seen = window ? position - int64_t{window} + 1 : 0;
      const int64_t lowest = std::max<int64_t>(0, seen) / kBlockTokens;
      if (position < 0 || position / kBlockTokens >= b.first + b.count || lowest < b.first) failPosition(site, t, a.positions[t], s, b);
    }
  }
}

void check(const RouteExpertsArgs& a, const OpSite& site, Verified& verified) {
  if (!a.map || !a.rowAdapters) return;
  if (!verified.ask({kOpRouteExperts, id(a.rowAdapters), a.count, a.adapterSlots})) {
    requireBelow(site, "rowAdapters", a.rowAdapters, a.count, a.adapterSlots, "adapterSlots", -1);
  }
  // The rows of the map that the op follows; rows of one adapter mostly stand together.
  for (uint32_t t = 0; t < a.count; t++) {
    if (a.rowAdapters[t] < 0 || (t > 0 && a.rowAdapters[t] == a.rowAdapters[t - 1])) continue;
    requireBelow(site, "map", a.map + uint64_t(a.rowAdapters[t]) * a.experts, a.experts, a.expertSlots, "expertSlots", -1);
  }
}

void check(const GroupExpertsArgs& a, const OpSite& site, Verified&) { requireBelow(site, "keys", a.keys, a.count, a.nKeys, "nKeys"); }

void check(const CombineExpertsArgs& a, const OpSite& site, Verified&) {
  requireBelow(site, "inverse", a.inverse, uint64_t{a.count} * a.topK, a.pairs, "pairs");
}

void check(const AttentionArgs& a, const OpSite& site, Verified& verified) { checkRead(a, a.window, site, verified); }

void check(const LatentAttentionArgs& a, const OpSite& site, Verified& verified) { checkRead(a, 0, site, verified); }

void check(const LatentKvArgs& a, const OpSite& site, Verified& verified) {
  checkTurned(a, site, verified);
  checkWritten(a, site, verified);
}

template <typename Args>
uint64_t checkAs(const void* args, const OpSite& site, Verified& verified) {
  check(*static_cast<const Args*>(args), site, verified);
  return 0;
}

}  // namespace

uint64_t checkIndices(uint32_t code, const void* args, const OpSite& site, Verified& verified) {
  switch (code) {
    case kOpResolve: return checkAs<ResolveArgs>(args, site, verified);
    case kOpEmbed: return checkAs<EmbedArgs>(args, site, verified);
    case kOpRmsNorm: return checkAs<RmsNormArgs>(args, site, verified);
    case kOpRope: return checkAs<RopeArgs>(args, site, verified);
    case kOpKvWrite: return checkAs<KvWriteArgs>(args, site, verified);
    case kOpRopeKv: return checkAs<RopeKvArgs>(args, site, verified);
    case kOpAttention: return checkAs<AttentionArgs>(args, site, verified);
    case kOpLatentKv: return checkAs<LatentKvArgs>(args, site, verified);
    case kOpLatentAttention: return checkAs<LatentAttentionArgs>(args, site, verified);
    case kOpCopyPages: return checkAs<CopyPagesArgs>(args, site, verified);
    case kOpLoraShrink: return checkAdapters(*static_cast<const LoraShrinkArgs*>(args), site, verified);
    case kOpLoraExpand: return checkAdapters(*static_cast<const LoraExpandArgs*>(args), site, verified);
    case kOpRouteExperts: return checkAs<RouteExpertsArgs>(args, site, verified);
    case kOpGroupExperts: return checkAs<GroupExpertsArgs>(args, site, verified);
    case kOpExpertLinear: return checkExperts(*static_cast<const ExpertLinearArgs*>(args), site);
    case kOpExpertShrink: return checkAdapters(*static_cast<const ExpertShrinkArgs*>(args), site, verified);
    case kOpExpertExpand: return checkAdapters(*static_cast<const ExpertExpandArgs*>(args), site, verified);
    case kOpCombineExperts: return checkAs<CombineExpertsArgs>(args, site, verified);
    case kOpEmbedShrink: return checkAdapters(*static_cast<const EmbedShrinkArgs*>(args), site, verified);
    case kOpEmbedReplace: return checkAdapters(*static_cast<const EmbedReplaceArgs*>(args), site, verified);
    case kOpHeadReplace: return checkAdapters(*static_cast<const HeadReplaceArgs*>(args), site, verified);
    case kOpLatentLora: return checkAdapters(*static_cast<const LatentLoraArgs*>(args), site, verified);
    case kOpSample:
      checkSampling(*static_cast<const SampleArgs*>(args), site);
      return 0;
    // No indices in their buffers.
    case kOpHeadNorm: case kOpLinear: case kOpGatedAct: case kOpCopyRows: case kOpAllReduce: case kOpQuantizeRows:
    case kOpLinearInt8: case kOpSoftcap: case kOpHeadLinear: return 0;
    // An op without checks would run on trust: better not at all.
    default: site.fail("has no check of its indices");
  }
}

}  // namespace weft
