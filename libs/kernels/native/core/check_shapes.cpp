#include <algorithm>

#include "checks.h"
#include "error.h"
#include "int8_format.h"
#include "ops.gen.h"

namespace weft {
namespace {

// Bounds the scratch memory of attention; no model has larger heads.
constexpr uint32_t kMaxHeadDim = 1024;
// q, k and v: no fused site has more.
constexpr uint32_t kMaxParts = 3;
// Kernels keep a row's experts on their stack; DeepSeek-V3 has 256.
constexpr uint32_t kMaxExperts = 1024;
// Counters of a sort; more than any pool has room for experts.
constexpr uint32_t kMaxKeys = 1 << 20;
constexpr uint32_t kPanel = 32;
constexpr uint32_t kKvGroups = (kSegmentWords - kSegmentFirstBlock) / 3;

uint64_t product(uint32_t a, uint32_t b) { return uint64_t{a} * b; }

void heads(const OpSite& site, uint32_t heads, uint32_t dim, uint32_t width, const char* headsName) {
  if (heads == 0) site.fail(format("%s is 0", headsName));
  if (dim == 0 || dim > kMaxHeadDim) site.fail(format("dim = %u is not between 1 and %u", dim, kMaxHeadDim));
  if (product(heads, dim) > width) site.fail(format("%s = %u of dim = %u are wider than width = %u", headsName, heads, dim, width));
}

template <typename Args>
void packedLayout(const Args& a, const OpSite& site) {
  site.require(a.layout <= 1, "layout is neither 0 nor 1");
  site.require(a.layout == 0 || a.dtype != kDTypeInt8, "layout = 1: int8 has no plain rows");
}

void check(const EmbedArgs& a, const OpSite& site) { packedLayout(a, site); }

void check(const LinearArgs& a, const OpSite& site) {
  packedLayout(a, site);
  site.require(a.dtype != kDTypeInt8, "dtype is int8, which is linearInt8's");
}

template <typename Args>
void quantized(const Args& a, const OpSite& site) {
  if (a.words < int8RowWords(a.k)) {
    site.fail(format("words = %u is less than the %llu that k = %u takes", a.words, (unsigned long long)int8RowWords(a.k), a.k));
  }
}

void check(const QuantizeRowsArgs& a, const OpSite& site) { quantized(a, site); }

void check(const LinearInt8Args& a, const OpSite& site) {
  quantized(a, site);
  site.require(a.dtype == kDTypeInt8, "dtype is not int8");
}

void check(const RmsNormArgs& a, const OpSite& site) {
  if (!a.index && a.rows > a.srcRows) site.fail(format("rows = %u is more than srcRows = %u", a.rows, a.srcRows));
}

void check(const HeadNormArgs& a, const OpSite& site) { heads(site, a.heads, a.dim, a.width, "heads"); }

template <typename Args>
void rotation(const Args& a, const OpSite& site) {
  if (a.rotary % 2 || a.rotary > a.dim) site.fail(format("rotary = %u is odd or more than dim = %u", a.rotary, a.dim));
  site.require(a.interleaved <= 1, "interleaved is neither 0 nor 1");
}

void check(const RopeArgs& a, const OpSite& site) {
  heads(site, a.heads, a.dim, a.width, "heads");
  rotation(a, site);
}

// A layer's planes lie inside the page, whole and aligned.
template <typename Args>
void kvLayout(const Args& a, const OpSite& site) {
  site.require(a.kvType == kDTypeF16 || a.kvType == kDTypeBf16 || a.kvType == kDTypeInt8, "kvType is neither f16, bf16 nor int8");
  site.require(a.kvType != kDTypeBf16 || a.dim % 2 == 0, "kvType is bf16, which is kept by pairs, and dim is odd");
  const uint64_t head = product(a.dim, kBlockTokens * (a.kvType == kDTypeInt8 ? 1 : 2));
  const uint64_t plane = a.kvType == kDTypeInt8 ? product(a.kvHeads, a.headStride) + product(a.kvHeads, kBlockTokens * 2)
                                                : product(a.kvHeads - 1, a.headStride) + head;
  const uint64_t end = uint64_t{a.layerOffset} + a.planeStride + plane;
  if (end > a.pageBytes) {
    site.fail(format("layerOffset = %u, planeStride and headStride reach %llu bytes into a page of pageBytes = %u",
        a.layerOffset, (unsigned long long)end, a.pageBytes));
  }
  site.require((a.kvHeads == 1 && a.kvType != kDTypeInt8) || a.headStride >= head, "headStride is shorter than a head");
  site.require(a.planeStride >= plane, "planeStride is shorter than a plane");
  site.require(a.layerOffset % 4 == 0 && a.planeStride % 4 == 0 && a.headStride % 4 == 0,
      "layerOffset, planeStride or headStride is no multiple of 4");
  site.require(a.pageBytes % 4 == 0, "pageBytes is no multiple of 4");
  if (a.kvGroup >= kKvGroups) site.fail(format("kvGroup = %u: a segment has %u groups", a.kvGroup, kKvGroups));
}

void check(const KvWriteArgs& a, const OpSite& site) {
  heads(site, a.kvHeads, a.dim, a.width, "kvHeads");
  kvLayout(a, site);
}

void check(const RopeKvArgs& a, const OpSite& site) {
  if (a.kvHeads == 0) site.fail("kvHeads is 0");
  heads(site, a.heads, a.dim, a.width, "heads");
  const uint64_t all = uint64_t{a.heads} + 2 * uint64_t{a.kvHeads};
  if (all > a.width / a.dim) site.fail(format("heads = %u and twice kvHeads = %u of dim = %u are wider than width = %u", a.heads, a.kvHeads, a.dim, a.width));
  rotation(a, site);
  kvLayout(a, site);
}

void check(const AttentionArgs& a, const OpSite& site) {
  heads(site, a.heads, a.dim, a.width, "heads");
  if (a.kvHeads == 0 || a.heads % a.kvHeads) site.fail(format("heads = %u is no multiple of kvHeads = %u", a.heads, a.kvHeads));
  kvLayout(a, site);
  const uint32_t state = (a.dim + 15) / 16 * 16 + 2;
  if (a.partials && a.ldPartials < state) site.fail(format("ldPartials = %u is less than the %u values of a state", a.ldPartials, state));
}

constexpr uint32_t kMaxLatent = 4096;

// A token of a layer lies inside the page, whole and aligned.
template <typename Args>
void latentLayout(const Args& a, const OpSite& site) {
  if (a.heads == 0) site.fail("heads is 0");
  if (a.latent == 0 || a.latent > kMaxLatent) site.fail(format("latent = %u is 0 or more than %u", a.latent, kMaxLatent));
  if (a.rope == 0 || a.rope % 2 || a.rope > kMaxHeadDim) site.fail(format("rope = %u is 0, odd or more than %u", a.rope, kMaxHeadDim));
  const uint64_t end = a.layerOffset + product(a.latent + a.rope, kBlockTokens * 2);
  if (end > a.pageBytes) site.fail(format("layerOffset = %u reaches %llu bytes into a page of pageBytes = %u", a.layerOffset, (unsigned long long)end, a.pageBytes));
  site.require(a.layerOffset % 4 == 0 && a.pageBytes % 4 == 0, "layerOffset or pageBytes is no multiple of 4");
  if (a.kvGroup >= kKvGroups) site.fail(format("kvGroup = %u: a segment has %u groups", a.kvGroup, kKvGroups));
}

// `heads` vectors of `dim` values, `stride` apart.
void strided(const OpSite& site, const char* name, uint32_t heads, uint32_t stride, uint32_t dim, uint32_t width) {
  if (heads == 0) site.fail("heads is 0");
  if (dim == 0 || product(heads - 1, stride) + dim > width || (heads > 1 && stride < dim)) {
    site.fail(format("%s: heads = %u of %u values, %u apart, do not lie inside a width of %u", name, heads, dim, stride, width));
  }
}

void check(const LatentKvArgs& a, const OpSite& site) {
  latentLayout(a, site);
  if (a.dim != a.latent + a.rope) site.fail(format("dim = %u is not latent = %u and rope = %u", a.dim, a.latent, a.rope));
  if (a.qDim < a.rope) site.fail(format("qDim = %u is less than rope = %u", a.qDim, a.rope));
  strided(site, "q", a.heads, a.qDim, a.qDim, a.qWidth);
  strided(site, "query", a.heads, a.dim, a.dim, a.width);
  site.require(a.interleaved <= 1, "interleaved is neither 0 nor 1");
}

void check(const HeadLinearArgs& a, const OpSite& site) {
  site.require(a.dtype != kDTypeInt8, "dtype is int8");
  const uint64_t outs = product(a.heads, (a.n + kPanel - 1) / kPanel * kPanel);
  if (a.outs != outs) site.fail(format("outs = %u is not the %llu of heads = %u and n = %u", a.outs, (unsigned long long)outs, a.heads, a.n));
  strided(site, "x", a.heads, a.xStride, a.k, a.xWidth);
  strided(site, "y", a.heads, a.yStride, a.n, a.yWidth);
}

void check(const LatentAttentionArgs& a, const OpSite& site) {
  latentLayout(a, site);
  strided(site, "query", a.heads, a.latent + a.rope, a.latent + a.rope, a.width);
  strided(site, "out", a.heads, a.latent, a.latent, a.outWidth);
  const uint32_t state = (a.latent + 15) / 16 * 16 + 2;
  if (a.partials && a.ldPartials < state) site.fail(format("ldPartials = %u is less than the %u values of a state", a.ldPartials, state));
}

void check(const GatedActArgs& a, const OpSite& site) {
  if (a.dim2 < product(a.dim, 2)) site.fail(format("dim2 = %u is less than twice dim = %u", a.dim2, a.dim));
  site.require(a.act <= kActivationGelu, "act is no activation");
}

void check(const SoftcapArgs& a, const OpSite& site) { site.require(a.cap > 0, "cap is not above 0"); }

// `parts` runs of a site side by side in every slot's table.
template <typename Args>
void runs(const Args& a, uint32_t parts, const OpSite& site) {
  if (uint64_t{a.site} + parts > a.nSites) {
    site.fail(format("site = %u with parts = %u is beyond nSites = %u", a.site, parts, a.nSites));
  }
  // The last run that the op reads.
  const unsigned __int128 last = ((unsigned __int128)a.layer * a.nSites + a.site + parts) * 2;
  if (last * kRunWords > a.slotWords) site.fail(format("layer = %u and site = %u lie beyond slotWords = %u", a.layer, a.site, a.slotWords));
  site.require(a.pageBytes % 128 == 0, "pageBytes is no multiple of 128");
}

// Rows of u hold the ranks of all parts.
template <typename Args>
void ranks(const Args& a, uint32_t parts, const OpSite& site) {
  if (product(a.partStride, parts) > a.ldu) {
    site.fail(format("ldu = %u is less than parts = %u of partStride = %u", a.ldu, parts, a.partStride));
  }
  site.require(a.partStride > 0, "partStride is 0");
}

template <typename Args>
void lora(const Args& a, const OpSite& site) {
  if (a.parts == 0 || a.parts > kMaxParts) site.fail(format("parts = %u is not between 1 and %u", a.parts, kMaxParts));
  ranks(a, a.parts, site);
  runs(a, a.parts, site);
}

void check(const EmbedShrinkArgs& a, const OpSite& site) {
  ranks(a, 1, site);
  runs(a, 1, site);
}
void check(const EmbedReplaceArgs& a, const OpSite& site) { runs(a, 1, site); }
void check(const HeadReplaceArgs& a, const OpSite& site) { runs(a, 1, site); }

void check(const LoraShrinkArgs& a, const OpSite& site) { lora(a, site); }

void check(const LoraExpandArgs& a, const OpSite& site) {
  lora(a, site);
  const uint32_t offsets[] = {a.outOffset0, a.outOffset1, a.outOffset2}, dims[] = {a.dOut0, a.dOut1, a.dOut2};
  for (uint32_t p = 0; p < a.parts; p++) {
    if (dims[p] == 0 || uint64_t{offsets[p]} + dims[p] > a.dOut) {
      site.fail(format("outOffset%u = %u with dOut%u = %u does not lie inside dOut = %u", p, offsets[p], p, dims[p], a.dOut));
    }
  }
}

template <typename Args>
void expertLora(const Args& a, const OpSite& site) {
  lora(a, site);
  if (a.topK == 0) site.fail("topK is 0");
  if (a.experts == 0 || a.experts > kMaxExperts) site.fail(format("experts = %u is not between 1 and %u", a.experts, kMaxExperts));
  if (product(a.maxGroupRows, a.topK) > a.uRows) site.fail(format("uRows = %u is less than maxGroupRows = %u of topK = %u", a.uRows, a.maxGroupRows, a.topK));
  if (a.inverse && product(a.rows, a.topK) > a.pairs) site.fail(format("pairs = %u is less than rows = %u of topK = %u", a.pairs, a.rows, a.topK));
}

void check(const ExpertShrinkArgs& a, const OpSite& site) {
  expertLora(a, site);
  if (!a.inverse && a.rows > a.xRows) site.fail(format("xRows = %u is less than rows = %u", a.xRows, a.rows));
}

void check(const ExpertExpandArgs& a, const OpSite& site) {
  expertLora(a, site);
  const uint32_t offsets[] = {a.outOffset0, a.outOffset1, a.outOffset2}, dims[] = {a.dOut0, a.dOut1, a.dOut2};
  for (uint32_t p = 0; p < a.parts; p++) {
    if (dims[p] == 0 || uint64_t{offsets[p]} + dims[p] > a.dOut) {
      site.fail(format("outOffset%u = %u with dOut%u = %u does not lie inside dOut = %u", p, offsets[p], p, dims[p], a.dOut));
    }
  }
}

void check(const RouteExpertsArgs& a, const OpSite& site) {
  site.require(!a.map == !a.rowAdapters, "map and rowAdapters belong together");
  if (a.nGroups == 0 || a.experts % a.nGroups) site.fail(format("experts = %u is no multiple of nGroups = %u", a.experts, a.nGroups));
  if (a.topGroups == 0 || a.topGroups > a.nGroups) site.fail(format("topGroups = %u is not between 1 and nGroups = %u", a.topGroups, a.nGroups));
  const uint32_t seen = a.experts / a.nGroups * a.topGroups;
  if (a.topK > seen) site.fail(format("topK = %u is more than the %u experts of topGroups = %u", a.topK, seen, a.topGroups));
  if (a.experts > kMaxExperts) site.fail(format("experts = %u is above %u", a.experts, kMaxExperts));
  if (product(a.experts, 1) + a.expertSlots > INT32_MAX) site.fail("experts and expertSlots are above 2^31 - 1");
}

void check(const GroupExpertsArgs& a, const OpSite& site) {
  if (a.nKeys == 0 || a.nKeys > kMaxKeys) site.fail(format("nKeys = %u is not between 1 and %u", a.nKeys, kMaxKeys));
  if (a.maxSpans < std::min(a.pairs, a.nKeys)) site.fail(format("maxSpans = %u is less than pairs = %u and nKeys = %u", a.maxSpans, a.pairs, a.nKeys));
}

void check(const ExpertLinearArgs& a, const OpSite& site) {
  site.require(a.dtype != kDTypeInt8, "dtype is int8");
  const uint64_t outs = product(a.experts, (a.n + kPanel - 1) / kPanel * kPanel);
  if (a.outs != outs) site.fail(format("outs = %u is not the %llu of experts = %u and n = %u", a.outs, (unsigned long long)outs, a.experts, a.n));
  if (a.topK == 0) site.fail("topK is 0");
  const uint64_t rows = a.order ? (uint64_t{a.pairs} + a.topK - 1) / a.topK : a.pairs;
  if (a.xRows < rows) site.fail(format("xRows = %u is less than the %llu of pairs = %u", a.xRows, (unsigned long long)rows, a.pairs));
  site.require(!a.pages == !a.types && !a.pages == !a.arena, "types, pages and arena belong together");
  if (!a.pages) return;
  if (a.pageBytes % kWUnitBytes) site.fail(format("pageBytes = %u is no multiple of %u", a.pageBytes, kWUnitBytes));
  const uint64_t units = uint64_t{a.firstUnit} + product((a.n + kWOuts - 1) / kWOuts, (a.k + kWDepth - 1) / kWDepth);
  const uint64_t room = product(a.slotPages, a.pageBytes / kWUnitBytes);
  if (units > room) site.fail(format("firstUnit = %u leads to %llu units; slotPages = %u hold %llu", a.firstUnit, (unsigned long long)units, a.slotPages, (unsigned long long)room));
}

void check(const CombineExpertsArgs& a, const OpSite& site) {
  site.require(a.accumulate <= 1, "accumulate is neither 0 nor 1");
  site.require(!a.gate || a.accumulate, "gate is for what `out` holds, which accumulate = 0 leaves out");
  if (product(a.rows, a.topK) > a.pairs) site.fail(format("pairs = %u is less than rows = %u of topK = %u", a.pairs, a.rows, a.topK));
}

// Kernels keep a row's ranks, and where units of a head begin, on their stack.
constexpr uint32_t kMaxLatentRank = 256;

void check(const LatentLoraArgs& a, const OpSite& site) {
  if (a.latent == 0 || a.latent > kMaxLatent) site.fail(format("latent = %u is 0 or more than %u", a.latent, kMaxLatent));
  if (a.outs == 0 || a.outs > kMaxHeadDim || uint64_t{a.firstOut} + a.outs > a.headOuts) {
    site.fail(format("firstOut = %u with outs = %u does not lie inside headOuts = %u, or is more than %u", a.firstOut, a.outs, a.headOuts, kMaxHeadDim));
  }
  site.require(a.transposed <= 1, "transposed is neither 0 nor 1");
  strided(site, "x", a.heads, a.xStride, a.transposed ? a.outs : a.latent, a.xWidth);
  strided(site, "y", a.heads, a.yStride, a.transposed ? a.latent : a.outs, a.yWidth);
  if (a.partStride == 0 || a.partStride > kMaxLatentRank) site.fail(format("partStride = %u is not between 1 and %u", a.partStride, kMaxLatentRank));
  runs(a, 1, site);
}

void check(const SampleArgs& a, const OpSite& site) {
  if (a.masks && a.maskWords != (a.vocab + 31) / 32) {
    site.fail(format("maskWords = %u does not hold vocab = %u bits", a.maskWords, a.vocab));
  }
  site.require(a.biasWords % 2 == 0, "biasWords is odd");
}

void check(const AllReduceArgs& a, const OpSite& site) {
  if (a.size != 1 || a.rank != 0) site.fail(format("rank = %u of size = %u: this device is alone", a.rank, a.size));
}

void check(const ResolveArgs&, const OpSite&) {}
void check(const CopyRowsArgs&, const OpSite&) {}
void check(const CopyPagesArgs&, const OpSite&) {}

template <typename Args>
void checkAs(const void* args, const OpSite& site) { check(*static_cast<const Args*>(args), site); }

}  // namespace

void checkShapes(uint32_t code, const void* args, const OpSite& site) {
  switch (code) {
    case kOpResolve: return checkAs<ResolveArgs>(args, site);
    case kOpEmbed: return checkAs<EmbedArgs>(args, site);
    case kOpRmsNorm: return checkAs<RmsNormArgs>(args, site);
    case kOpHeadNorm: return checkAs<HeadNormArgs>(args, site);
    case kOpLinear: return checkAs<LinearArgs>(args, site);
    case kOpRope: return checkAs<RopeArgs>(args, site);
    case kOpKvWrite: return checkAs<KvWriteArgs>(args, site);
    case kOpAttention: return checkAs<AttentionArgs>(args, site);
    case kOpGatedAct: return checkAs<GatedActArgs>(args, site);
    case kOpLoraShrink: return checkAs<LoraShrinkArgs>(args, site);
    case kOpLoraExpand: return checkAs<LoraExpandArgs>(args, site);
    case kOpSample: return checkAs<SampleArgs>(args, site);
    case kOpCopyRows: return checkAs<CopyRowsArgs>(args, site);
    case kOpCopyPages: return checkAs<CopyPagesArgs>(args, site);
    case kOpRopeKv: return checkAs<RopeKvArgs>(args, site);
    case kOpAllReduce: return checkAs<AllReduceArgs>(args, site);
    case kOpQuantizeRows: return checkAs<QuantizeRowsArgs>(args, site);
    case kOpLinearInt8: return checkAs<LinearInt8Args>(args, site);
    case kOpSoftcap: return checkAs<SoftcapArgs>(args, site);
    case kOpRouteExperts: return checkAs<RouteExpertsArgs>(args, site);
    case kOpGroupExperts: return checkAs<GroupExpertsArgs>(args, site);
    case kOpExpertLinear: return checkAs<ExpertLinearArgs>(args, site);
    case kOpExpertShrink: return checkAs<ExpertShrinkArgs>(args, site);
    case kOpExpertExpand: return checkAs<ExpertExpandArgs>(args, site);
    case kOpCombineExperts: return checkAs<CombineExpertsArgs>(args, site);
    case kOpEmbedShrink: return checkAs<EmbedShrinkArgs>(args, site);
    case kOpEmbedReplace: return checkAs<EmbedReplaceArgs>(args, site);
    case kOpHeadReplace: return checkAs<HeadReplaceArgs>(args, site);
    case kOpLatentKv: return checkAs<LatentKvArgs>(args, site);
    case kOpHeadLinear: return checkAs<HeadLinearArgs>(args, site);
    case kOpLatentAttention: return checkAs<LatentAttentionArgs>(args, site);
    case kOpLatentLora: return checkAs<LatentLoraArgs>(args, site);
    // An op without checks would run on trust: better not at all.
    default: site.fail("has no check of its shapes");
  }
}

}  // namespace weft
