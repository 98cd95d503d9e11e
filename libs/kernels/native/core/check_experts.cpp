// Spans of pairs and expert tables: what expertLinear follows.
#include "checks.h"
#include "error.h"
#include "ops.gen.h"

namespace weft {

uint64_t checkExperts(const ExpertLinearArgs& a, const OpSite& site) {
  const uint64_t slots = a.pages ? a.expertSlots : 0, keys = a.experts + slots;
  const uint64_t perPage = a.pages ? a.pageBytes / kWUnitBytes : 1;
  const uint64_t units = uint64_t{(a.n + kWOuts - 1) / kWOuts} * ((a.k + kWDepth - 1) / kWDepth);
  uint64_t next = 0, bytes = 0;
  for (uint32_t s = 0; s < a.maxSpans && next < a.count; s++) {
    const int32_t* span = a.spans + uint64_t{s} * kSpanWords;
    const int64_t key = span[kSpanKey], start = span[kSpanStart], count = span[kSpanCount];
    if (start != int64_t(next) || count < 1 || start + count > a.count) {
      site.fail(format("spans[%u]: start = %lld with count = %lld does not follow row %llu of %u", s, (long long)start, (long long)count,
                       (unsigned long long)next, a.count));
    }
    if (key < 0 || uint64_t(key) >= keys) site.fail(format("spans[%u]: key = %lld is not below %llu", s, (long long)key, (unsigned long long)keys));
    next += uint64_t(count);
    if (key < int64_t{a.experts}) continue;
    const uint64_t slot = uint64_t(key) - a.experts;
    const int32_t type = a.types[slot];
    if (type != int32_t(kDTypeBf16) && type != int32_t(kDTypeF16)) site.fail(format("types[%llu] = %d is neither bf16 nor f16", (unsigned long long)slot, type));
    const uint64_t first = a.firstUnit / perPage, last = (a.firstUnit + units - 1) / perPage;
    requireBelow(site, "pages", a.pages + slot * a.slotPages + first, last - first + 1, a.nPages, "nPages");
    bytes += units * kWUnitBytes;
  }
  if (next != a.count) site.fail(format("spans hold %llu of %u rows", (unsigned long long)next, a.count));
  if (a.order) requireBelow(site, "order", a.order, a.count, a.pairs, "pairs");
  return bytes;
}

}  // namespace weft
