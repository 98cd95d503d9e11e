// Adapter tables. A table is read by 2 ops for each site and step, and the host may bind another slot meanwhile, so what
// is checked is the run that the op is about to follow: a few words that the kernel reads next anyway.
#include <cstring>

#include "checks.h"
#include "error.h"
#include "ops.gen.h"

namespace weft {
namespace {

template <typename Args>
void checkGroups(const Args& a, const OpSite& site) {
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const int32_t* group = a.groups + uint64_t{g} * kGroupWords;
    requireBelow(site, "groups.adapterSlot", group + kGroupAdapterSlot, 1, a.nSlots, "nSlots");
    const int64_t rowStart = group[kGroupRowStart], rowCount = group[kGroupRowCount];
    if (rowStart < 0 || rowCount < 0 || rowStart + rowCount > a.groupRowCount) {
      site.fail(format("groups[%u]: rowStart = %lld with rowCount = %lld does not lie inside the %u group rows", g,
                       (long long)rowStart, (long long)rowCount, a.groupRowCount));
    }
  }
  requireBelow(site, "groupRows", a.groupRows, a.groupRowCount, a.rows, "rows");
}

struct RunPlace {
  const int32_t* table;
  const int32_t* words;
  int32_t slot;
  uint32_t part;
};

template <typename Args>
RunPlace runOf(const Args& a, uint32_t group, uint32_t part, uint32_t half) {
  const int32_t slot = a.groups[uint64_t{group} * kGroupWords + kGroupAdapterSlot];
  const int32_t* table = a.tables + uint64_t(slot) * a.slotWords;
  return {table, table + ((uint64_t{a.layer} * a.nSites + a.site + part) * 2 + half) * kRunWords, slot, part};
}

template <typename Args>
[[noreturn]] void failRun(const Args& a, const OpSite& site, const RunPlace& run, const std::string& what) {
  site.fail(format("tables[%d], layer %u, site %u: ", run.slot, a.layer, a.site + run.part) + what);
}

template <typename Args>
uint32_t rankOf(const Args& a, const OpSite& site, const RunPlace& run) {
  const int32_t rank = run.words[kRunRank];
  if (rank < 1 || uint32_t(rank) > a.partStride) failRun(a, site, run, format("rank = %d is not between 1 and partStride = %u", rank, a.partStride));
  return uint32_t(rank);
}

// units and unitBytes: what the op's dimensions ask for. Returns the run's bytes.
template <typename Args>
uint64_t checkRun(const Args& a, const OpSite& site, const RunPlace& run, uint64_t units, uint64_t unitBytes) {
  const int32_t* w = run.words;
  const int32_t dtype = w[kRunDtype];
  if (dtype != int32_t(kDTypeBf16) && dtype != int32_t(kDTypeF16)) {
    failRun(a, site, run, format("dtype = %d is neither bf16 nor f16", dtype));
  }
  if (w[kRunUnits] < 0 || uint64_t(w[kRunUnits]) != units) {
    failRun(a, site, run, format("units = %d, the shape asks for %llu", w[kRunUnits], (unsigned long long)units));
  }
  if (w[kRunUnitBytes] < 0 || uint64_t(w[kRunUnitBytes]) != unitBytes) {
    failRun(a, site, run, format("unitBytes = %d, the shape asks for %llu", w[kRunUnitBytes], (unsigned long long)unitBytes));
  }
  const int64_t firstSeg = w[kRunFirstSeg], segs = w[kRunSegs];
  if (firstSeg < 0 || segs < 0 || firstSeg + segs * kSegWords > a.slotWords) {
    failRun(a, site, run,
        format("firstSeg = %lld with segs = %lld does not lie inside slotWords = %u", (long long)firstSeg, (long long)segs, a.slotWords));
  }
  const uint64_t arenaBytes = uint64_t{a.nPages} * a.pageBytes;
  int64_t next = 0;
  for (int64_t s = 0; s < segs; s++) {
    const int32_t* seg = run.table + firstSeg + s * kSegWords;
    if (seg[kSegFirstUnit] != next || seg[kSegUnits] < 1) {
      failRun(a, site, run, format("segs[%lld] does not begin at unit %lld", (long long)s, (long long)next));
    }
    const uint64_t begin = uint64_t{uint32_t(seg[kSegAt])} * 128;
    const unsigned __int128 end = (unsigned __int128)begin + (unsigned __int128)uint32_t(seg[kSegUnits]) * unitBytes;
    if (end > arenaBytes) failRun(a, site, run, format("segs[%lld] reaches beyond the arena of nPages = %u", (long long)s, a.nPages));
    if (begin / a.pageBytes != (uint64_t(end) - 1) / a.pageBytes) failRun(a, site, run, format("segs[%lld] crosses a page", (long long)s));
    next += seg[kSegUnits];
  }
  if (uint64_t(next) != units) failRun(a, site, run, format("segs hold %lld of %llu units", (long long)next, (unsigned long long)units));
  return units * unitBytes;
}

template <typename Args>
uint64_t unitsOf(const Args& a, const OpSite& site, const RunPlace& run) {
  if (run.words[kRunUnits] < 0) failRun(a, site, run, format("units = %d is negative", run.words[kRunUnits]));
  return uint32_t(run.words[kRunUnits]);
}

// Rows of an end. Returns their bytes.
template <typename Args>
uint64_t checkRows(const Args& a, const OpSite& site, const RunPlace& run, uint32_t dim) {
  const int32_t tail = run.words[kRunTail];
  if (tail != 0 && tail != int32_t(kIdBytes)) failRun(a, site, run, format("tail = %d is neither 0 nor %u", tail, kIdBytes));
  return checkRun(a, site, run, unitsOf(a, site, run), (uint64_t{dim} + 63) / 64 * 128 + uint32_t(tail));
}

// The tokens that rows of a head are of.
void checkOutputs(const HeadReplaceArgs& a, const OpSite& site, const RunPlace& run) {
  const uint32_t units = uint32_t(run.words[kRunUnits]), unitBytes = uint32_t(run.words[kRunUnitBytes]);
  if (run.words[kRunTail] == 0) {
    if (units > a.dOut) failRun(a, site, run, format("units = %u are more than dOut = %u", units, a.dOut));
    return;
  }
  for (int32_t s = 0; s < run.words[kRunSegs]; s++) {
    const int32_t* seg = run.table + run.words[kRunFirstSeg] + uint64_t(s) * kSegWords;
    const uint8_t* ids = a.arena + uint64_t{uint32_t(seg[kSegAt])} * 128 + unitBytes - kIdBytes;
    for (int32_t i = 0; i < seg[kSegUnits]; i++) {
      int32_t token;
      memcpy(&token, ids + uint64_t(i) * unitBytes, sizeof token);
      if (token < 0 || uint32_t(token) >= a.dOut) {
        failRun(a, site, run, format("row %d is of token %d, which is not below dOut = %u", seg[kSegFirstUnit] + i, token, a.dOut));
      }
    }
  }
}

template <typename Args>
void checkTokens(const Args& a, const OpSite& site, Verified& verified) {
  const uint64_t tokens = reinterpret_cast<uintptr_t>(a.tokens), rows = reinterpret_cast<uintptr_t>(a.groupRows);
  if (verified.ask({kOpEmbedShrink, tokens, rows, a.groupRowCount})) return;
  for (uint32_t i = 0; i < a.groupRowCount; i++) {
    if (a.tokens[a.groupRows[i]] < 0) site.fail(format("tokens[%d] = %d is negative", a.groupRows[i], a.tokens[a.groupRows[i]]));
  }
}

template <typename Args>
void checkGroupsOnce(const Args& a, const OpSite& site, Verified& verified) {
  const uint64_t groups = reinterpret_cast<uintptr_t>(a.groups), rows = reinterpret_cast<uintptr_t>(a.groupRows);
  const uint64_t counts = uint64_t{a.groupCount} << 32 | a.groupRowCount;
  if (!verified.ask({kOpLoraShrink, groups, rows, counts, a.nSlots, a.rows})) checkGroups(a, site);
}

}  // namespace

uint64_t checkAdapters(const LoraShrinkArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  const uint64_t unitBytes = (uint64_t{a.dIn} + 63) / 64 * 128;
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    for (uint32_t p = 0; p < a.parts; p++) {
      const RunPlace run = runOf(a, g, p, kHalfA);
      if (run.words[kRunUnits] == 0) continue;
      bytes += checkRun(a, site, run, rankOf(a, site, run), unitBytes);
    }
  }
  return bytes;
}

uint64_t checkAdapters(const LoraExpandArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  const uint32_t dims[] = {a.dOut0, a.dOut1, a.dOut2};
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    for (uint32_t p = 0; p < a.parts; p++) {
      const RunPlace run = runOf(a, g, p, kHalfB), first = runOf(a, g, p, kHalfA);
      if (run.words[kRunUnits] == 0) continue;
      if (first.words[kRunUnits] == 0 || first.words[kRunRank] != run.words[kRunRank]) failRun(a, site, run, "A and B differ in rank");
      const int32_t tail = run.words[kRunTail];
      if (tail != 0 && tail != int32_t(kOutsBytes)) failRun(a, site, run, format("tail = %d is neither 0 nor %u", tail, kOutsBytes));
      bytes += checkRun(a, site, run, (uint64_t{dims[p]} + 63) / 64, uint64_t{rankOf(a, site, run)} * 128 + uint32_t(tail));
    }
  }
  return bytes;
}

namespace {

// The experts that a group's rows go to, and where their pairs stand.
template <typename Args>
void checkChoices(const Args& a, const OpSite& site, uint32_t group, uint32_t places) {
  const int32_t* words = a.groups + uint64_t{group} * kGroupWords;
  for (int32_t i = words[kGroupRowStart]; i < words[kGroupRowStart] + words[kGroupRowCount]; i++) {
    const uint64_t pair = uint64_t(a.groupRows[i]) * a.topK;
    requireBelow(site, "keys", a.keys + pair, a.topK, a.experts, "experts");
    if (a.inverse) requireBelow(site, "inverse", a.inverse + pair, a.topK, places, "pairs");
  }
}

}  // namespace

uint64_t checkAdapters(const ExpertShrinkArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  const uint64_t unitBytes = (uint64_t{a.dIn} + 63) / 64 * 128;
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    bool acts = false;
    for (uint32_t p = 0; p < a.parts; p++) {
      const RunPlace run = runOf(a, g, p, kHalfA);
      if (run.words[kRunUnits] == 0) continue;
      const uint64_t ranks = rankOf(a, site, run) * uint64_t{a.experts};
      bytes += checkRun(a, site, run, ranks, unitBytes) / a.experts;
      acts = true;
    }
    if (acts) checkChoices(a, site, g, a.xRows);
  }
  return bytes;
}

uint64_t checkAdapters(const EmbedShrinkArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  checkTokens(a, site, verified);
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const RunPlace run = runOf(a, g, 0, kHalfA);
    if (run.words[kRunUnits] == 0) continue;
    checkRun(a, site, run, unitsOf(a, site, run), uint64_t{rankOf(a, site, run)} * 128);
    bytes += uint64_t(a.groups[uint64_t{g} * kGroupWords + kGroupRowCount]) * uint32_t(run.words[kRunRank]) * 2;
  }
  return bytes;
}

uint64_t checkAdapters(const ExpertExpandArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  const uint32_t dims[] = {a.dOut0, a.dOut1, a.dOut2};
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    bool acts = false;
    for (uint32_t p = 0; p < a.parts; p++) {
      const RunPlace run = runOf(a, g, p, kHalfB), first = runOf(a, g, p, kHalfA);
      if (run.words[kRunUnits] == 0) continue;
      if (first.words[kRunUnits] == 0 || first.words[kRunRank] != run.words[kRunRank]) failRun(a, site, run, "A and B differ in rank");
      if (run.words[kRunTail] != 0) failRun(a, site, run, format("tail = %d; LoRA on experts has none", run.words[kRunTail]));
      bytes += checkRun(a, site, run, (uint64_t{dims[p]} + 63) / 64 * a.experts, uint64_t{rankOf(a, site, run)} * 128) / a.experts;
      acts = true;
    }
    if (acts) checkChoices(a, site, g, a.pairs);
  }
  return bytes;
}

uint64_t checkAdapters(const EmbedReplaceArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  checkTokens(a, site, verified);
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const RunPlace run = runOf(a, g, 0, kHalfA);
    if (run.words[kRunUnits] == 0) continue;
    checkRows(a, site, run, a.dim);
    bytes += uint64_t(a.groups[uint64_t{g} * kGroupWords + kGroupRowCount]) * a.dim * 2;
  }
  return bytes;
}

uint64_t checkAdapters(const HeadReplaceArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const RunPlace run = runOf(a, g, 0, kHalfA);
    if (run.words[kRunUnits] == 0) continue;
    bytes += checkRows(a, site, run, a.dIn);
    checkOutputs(a, site, run);
  }
  return bytes;
}

uint64_t checkAdapters(const LatentLoraArgs& a, const OpSite& site, Verified& verified) {
  checkGroupsOnce(a, site, verified);
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const RunPlace first = runOf(a, g, 0, kHalfA), run = runOf(a, g, 0, kHalfB);
    if (run.words[kRunUnits] == 0) continue;
    if (first.words[kRunUnits] == 0 || first.words[kRunRank] != run.words[kRunRank]) failRun(a, site, run, "A and B differ in rank");
    if (run.words[kRunTail] != 0) failRun(a, site, run, format("tail = %d: outputs are not there to be changed", run.words[kRunTail]));
    const uint64_t rank = rankOf(a, site, run);
    bytes += checkRun(a, site, first, rank, (uint64_t{a.latent} + 63) / 64 * 128);
    bytes += checkRun(a, site, run, (uint64_t{a.heads} * a.headOuts + 63) / 64, rank * 128);
  }
  return bytes;
}

}  // namespace weft
