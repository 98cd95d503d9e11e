// Mixture of experts: where rows go, rows of one expert together, and back.
//
// routeExperts    a row's softmax in vectors, its topK by topK passes over the experts
// groupExperts    a counting sort by key; the pairs of a step are few beside the weights that they meet
// combineExperts  bound by memory: topK rows of y read, one of out written
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kExpertsMax = 1024;                   // of a layer (check_shapes.cpp)

static double routeNs(const RouteExpertsArgs& a) { return a.experts * (a.topK + 8) * 0.5; }

static uint32_t routeExpertsTiles(const void* p, uint32_t threads) {
  const RouteExpertsArgs& a = *static_cast<const RouteExpertsArgs*>(p);
  return Split(a.count, routeNs(a), threads).tiles();
}

// p = softmax(x). NaN and infinity make all of it NaN.
static void softmaxRow(const float* x, float* p, uint32_t n) {
  float most = x[0];
  for (uint32_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
  F total = zero();
  for (uint32_t i = 0; i < n; i += kLanes) {
    const int lanes = n - i < (uint32_t)kLanes ? (int)(n - i) : kLanes;
    const F v = sub(loadN(x + i, lanes), splat(most));
    storeN(p + i, add(expOf(v), sub(v, v)), lanes);       // v - v: 0, or NaN where expOf's bounds would hide it
  }
  for (uint32_t i = 0; i < n; i += kLanes) total = add(total, loadN(p + i, n - i < (uint32_t)kLanes ? (int)(n - i) : kLanes));
  const F sum = splat(sumOf(total));
  for (uint32_t i = 0; i < n; i += kLanes) {
    const int lanes = n - i < (uint32_t)kLanes ? (int)(n - i) : kLanes;
    storeN(p + i, divide(loadN(p + i, lanes), sum), lanes);
  }
}

// The largest of values that are not taken; ties, and NaN among NaN: the lower one.
static uint32_t takeLargest(const float* values, bool* taken, uint32_t n) {
  uint32_t best = n;
  for (uint32_t i = 0; i < n; i++) {
    if (!taken[i] && (best == n || values[i] > values[best])) best = i;
  }
  taken[best] = true;
  return best;
}

// Leaves only experts of the best groups.
static void keepGroups(const RouteExpertsArgs& a, const float* p, bool* taken) {
  const uint32_t size = a.experts / a.nGroups;
  float best[kExpertsMax];
  bool kept[kExpertsMax] = {};
  for (uint32_t g = 0; g < a.nGroups; g++) {
    best[g] = p[g * size];
    for (uint32_t i = 1; i < size; i++) best[g] = p[g * size + i] > best[g] ? p[g * size + i] : best[g];
  }
  for (uint32_t i = 0; i < a.topGroups; i++) takeLargest(best, kept, a.nGroups);
  for (uint32_t e = 0; e < a.experts; e++) taken[e] = !kept[e / size];
}

static void routeExpertsRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const RouteExpertsArgs& a = *static_cast<const RouteExpertsArgs*>(p);
  Split split(a.count, routeNs(a), threads);
  float probability[kExpertsMax];
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    softmaxRow(a.logits + t * a.ldl, probability, a.experts);
    bool taken[kExpertsMax] = {};
    if (a.nGroups > 1) keepGroups(a, probability, taken);
    const int32_t adapter = a.map ? a.rowAdapters[t] : -1;
    const int32_t* map = adapter < 0 ? nullptr : a.map + (size_t)adapter * a.experts;
    int32_t* keys = a.keys + t * a.topK;
    float* weights = a.weights + t * a.topK;
    float sum = 0;
    for (uint32_t c = 0; c < a.topK; c++) {
      const uint32_t e = takeLargest(probability, taken, a.experts);
      keys[c] = map && map[e] >= 0 ? (int32_t)a.experts + map[e] : (int32_t)e;
      weights[c] = probability[e];
      sum += probability[e];
    }
    for (uint32_t c = 0; c < a.topK; c++) weights[c] = (a.normalize ? weights[c] / sum : weights[c]) * a.scale;
  }
}

static uint32_t groupExpertsTiles(const void*, uint32_t) { return 1; }

static void groupExpertsRun(const void* p, uint32_t, uint32_t, Scratch& scratch) {
  const GroupExpertsArgs& a = *static_cast<const GroupExpertsArgs*>(p);
  uint32_t* next = scratch.indices(a.nKeys);             // first how many, then the next place of each key
  memset(next, 0, a.nKeys * sizeof *next);
  for (uint32_t i = 0; i < a.count; i++) next[a.keys[i]]++;
  uint32_t start = 0, spans = 0;
  for (uint32_t key = 0; key < a.nKeys; key++) {
    const uint32_t count = next[key];
    next[key] = start;
    if (count == 0) continue;
    int32_t* span = a.spans + (size_t)spans++ * kSpanWords;
    memset(span, 0, kSpanWords * sizeof *span);
    span[kSpanKey] = (int32_t)key;
    span[kSpanStart] = (int32_t)start;
    span[kSpanCount] = (int32_t)count;
    start += count;
  }
  memset(a.spans + (size_t)spans * kSpanWords, 0, (size_t)(a.maxSpans - spans) * kSpanWords * sizeof *a.spans);
  for (uint32_t i = 0; i < a.count; i++) {
    const uint32_t place = next[a.keys[i]]++;
    a.order[place] = (int32_t)i;
    a.inverse[i] = (int32_t)place;
  }
}

static double combineNs(const CombineExpertsArgs& a) { return a.dim * (a.topK + 2) * 4.0 / kBytesPerNs; }

static uint32_t combineExpertsTiles(const void* p, uint32_t threads) {
  const CombineExpertsArgs& a = *static_cast<const CombineExpertsArgs*>(p);
  return Split(a.count, combineNs(a), threads).tiles();
}

static void combineExpertsRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const CombineExpertsArgs& a = *static_cast<const CombineExpertsArgs*>(p);
  Split split(a.count, combineNs(a), threads);
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    float* out = a.out + t * a.ldo;
    const F kept = splat(a.gate ? 1.0f / (1.0f + expOf(-a.gate[t * a.ldg])) : 1.0f);
    for (uint32_t i = 0; i < a.dim; i += kLanes) {
      const int n = a.dim - i < (uint32_t)kLanes ? (int)(a.dim - i) : kLanes;
      F sum = a.accumulate ? mul(kept, loadN(out + i, n)) : zero();
      for (uint32_t c = 0; c < a.topK; c++) {
        const size_t pair = t * a.topK + c;
        sum = fma(splat(a.weights[pair]), loadN(a.y + (size_t)a.inverse[pair] * a.ldy + i, n), sum);
      }
      storeN(out + i, sum, n);
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft
