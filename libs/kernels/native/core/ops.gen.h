// Generated from src/ops.ts, src/frame.ts, src/adapter-table.ts, src/expert-table.ts and src/device.ts by `npm run generate`.
#pragma once
#include "op_info.h"

namespace weft {

enum OpCode : uint32_t {
  kOpResolve = 1,
  kOpEmbed = 2,
  kOpRmsNorm = 3,
  kOpHeadNorm = 4,
  kOpLinear = 5,
  kOpRope = 6,
  kOpKvWrite = 7,
  kOpAttention = 8,
  kOpGatedAct = 9,
  kOpLoraShrink = 10,
  kOpLoraExpand = 11,
  kOpSample = 12,
  kOpCopyRows = 13,
  kOpCopyPages = 14,
  kOpAllReduce = 15,
  kOpQuantizeRows = 16,
  kOpLinearInt8 = 17,
  kOpRopeKv = 18,
  kOpSoftcap = 19,
  kOpRouteExperts = 20,
  kOpGroupExperts = 21,
  kOpExpertLinear = 22,
  kOpCombineExperts = 23,
  kOpExpertShrink = 24,
  kOpExpertExpand = 25,
  kOpLatentKv = 26,
  kOpHeadLinear = 27,
  kOpLatentAttention = 28,
  kOpLatentLora = 29,
  kOpEmbedShrink = 30,
  kOpEmbedReplace = 31,
  kOpHeadReplace = 32,
};
constexpr uint32_t kOpCount = 33;

constexpr uint32_t kFirstBufferId = 16;
constexpr uint32_t kHeaderWords = 16;
constexpr uint32_t kSegmentWords = 12;
constexpr uint32_t kGroupWords = 4;
constexpr uint32_t kSampleWords = 20;
constexpr uint32_t kResultWords = 48;
constexpr uint32_t kSlotWords = 4;
constexpr uint32_t kRunWords = 8;
constexpr uint32_t kOutsBytes = 512;
constexpr uint32_t kIdBytes = 128;
constexpr uint32_t kSegWords = 4;
constexpr uint32_t kSpanWords = 4;
constexpr uint32_t kWUnitBytes = 4096;
constexpr uint32_t kWOuts = 32;
constexpr uint32_t kWDepth = 64;
constexpr uint32_t kMaxTopLogprobs = 20;
constexpr uint32_t kBlockTokens = 16;
constexpr uint32_t kAttentionSpan = 256;
constexpr uint32_t kLogitTile = 64;
constexpr uint32_t kInt8Group = 64;

constexpr uint32_t kDTypeF32 = 0;
constexpr uint32_t kDTypeBf16 = 1;
constexpr uint32_t kDTypeF16 = 2;
constexpr uint32_t kDTypeInt8 = 3;
constexpr uint32_t kDTypeBf12 = 4;

constexpr uint32_t kActivationSilu = 0;
constexpr uint32_t kActivationGeluTanh = 1;
constexpr uint32_t kActivationGelu = 2;

constexpr uint32_t kBindingFrame = 1;
constexpr uint32_t kBindingResults = 2;
constexpr uint32_t kBindingMasks = 3;
constexpr uint32_t kBindingHidden = 4;

constexpr uint32_t kHeaderNone = 0;
constexpr uint32_t kHeaderTokens = 1;
constexpr uint32_t kHeaderSegments = 2;
constexpr uint32_t kHeaderLogits = 3;
constexpr uint32_t kHeaderGroups = 4;
constexpr uint32_t kHeaderGroupRows = 5;
constexpr uint32_t kHeaderPagePairs = 6;
constexpr uint32_t kHeaderStep = 7;
constexpr uint32_t kHeaderPairs = 8;
constexpr uint32_t kHeaderHeadGroups = 9;
constexpr uint32_t kHeaderHeadGroupRows = 10;

constexpr uint32_t kSegmentSlot = 0;
constexpr uint32_t kSegmentRowStart = 1;
constexpr uint32_t kSegmentRowCount = 2;
constexpr uint32_t kSegmentFirstBlock = 3;
constexpr uint32_t kSegmentPageOffset = 4;
constexpr uint32_t kSegmentPageCount = 5;

constexpr uint32_t kGroupAdapterSlot = 0;
constexpr uint32_t kGroupRowStart = 1;
constexpr uint32_t kGroupRowCount = 2;
constexpr uint32_t kGroupWeight = 3;

constexpr uint32_t kSampleSlot = 0;
constexpr uint32_t kSampleTarget = 1;
constexpr uint32_t kSampleTemperature = 2;
constexpr uint32_t kSampleTopK = 3;
constexpr uint32_t kSampleTopP = 4;
constexpr uint32_t kSampleMinP = 5;
constexpr uint32_t kSampleRepetition = 6;
constexpr uint32_t kSamplePresence = 7;
constexpr uint32_t kSampleFrequency = 8;
constexpr uint32_t kSampleSeedLo = 9;
constexpr uint32_t kSampleSeedHi = 10;
constexpr uint32_t kSampleChoice = 11;
constexpr uint32_t kSamplePromptLen = 12;
constexpr uint32_t kSampleBiasStart = 13;
constexpr uint32_t kSampleBiasCount = 14;
constexpr uint32_t kSampleMaskRow = 15;
constexpr uint32_t kSampleNTop = 16;
constexpr uint32_t kSampleVocab = 17;

constexpr uint32_t kResultToken = 0;
constexpr uint32_t kResultStatus = 1;
constexpr uint32_t kResultLogprob = 2;
constexpr uint32_t kResultRank = 3;
constexpr uint32_t kResultNTop = 4;
constexpr uint32_t kResultTopIds = 8;
constexpr uint32_t kResultTopLogprobs = 28;

constexpr uint32_t kRowStatusOk = 0;
constexpr uint32_t kRowStatusNotFinite = 1;
constexpr uint32_t kRowStatusNothingAllowed = 2;

constexpr uint32_t kSlotLength = 0;
constexpr uint32_t kSlotLastToken = 1;
constexpr uint32_t kSlotDraws = 2;

constexpr uint32_t kRunDtype = 0;
constexpr uint32_t kRunRank = 1;
constexpr uint32_t kRunScale = 2;
constexpr uint32_t kRunUnitBytes = 3;
constexpr uint32_t kRunUnits = 4;
constexpr uint32_t kRunFirstSeg = 5;
constexpr uint32_t kRunSegs = 6;
constexpr uint32_t kRunTail = 7;

constexpr uint32_t kSegAt = 0;
constexpr uint32_t kSegFirstUnit = 1;
constexpr uint32_t kSegUnits = 2;

constexpr uint32_t kHalfA = 0;
constexpr uint32_t kHalfB = 1;

constexpr uint32_t kEndEmbed = 0;
constexpr uint32_t kEndHead = 1;
constexpr uint32_t kEndEmbedRows = 2;
constexpr uint32_t kEndHeadRows = 3;

constexpr uint32_t kSpanKey = 0;
constexpr uint32_t kSpanStart = 1;
constexpr uint32_t kSpanCount = 2;

// Arguments of kernels: pointers in the order of the operands, then words in the order of the params.
struct ResolveArgs {
  int32_t* tokenIds;
  int32_t* positions;
  int32_t* rowSlots;
  int32_t* slots;
  int32_t* history;
  int32_t* outTokens;
  int32_t* outPositions;
  uint32_t count;
  uint32_t rows;
  uint32_t nSlots;
  uint32_t maxLen;
  uint32_t vocab;
};

struct EmbedArgs {
  uint8_t* table;
  int32_t* tokens;
  float* x;
  uint32_t count;
  uint32_t rows;
  uint32_t vocab;
  uint32_t limit;
  uint32_t dim;
  uint32_t dtype;
  uint32_t layout;
  uint32_t ldx;
  float scale;
};

struct RmsNormArgs {
  float* r;
  float* add;  // or nullptr
  float* w;
  uint8_t* y;
  int32_t* index;  // or nullptr
  uint32_t count;
  uint32_t rows;
  uint32_t srcRows;
  uint32_t dim;
  uint32_t ldr;
  uint32_t ldAdd;
  uint32_t ldy;
  float eps;
  uint32_t plusOne;
  uint32_t yType;
};

struct HeadNormArgs {
  float* x;
  float* w;
  uint32_t count;
  uint32_t rows;
  uint32_t heads;
  uint32_t dim;
  uint32_t width;
  uint32_t ldx;
  float eps;
  uint32_t plusOne;
};

struct LinearArgs {
  uint8_t* x;
  uint8_t* w;
  float* b;  // or nullptr
  float* y;
  uint32_t count;
  uint32_t countFrom;
  uint32_t rows;
  uint32_t n;
  uint32_t k;
  uint32_t ldx;
  uint32_t ldy;
  uint32_t dtype;
  uint32_t accumulate;
  uint32_t xType;
  uint32_t layout;
};

struct RopeArgs {
  float* x;
  int32_t* positions;
  float* cosSin;
  uint32_t count;
  uint32_t rows;
  uint32_t heads;
  uint32_t dim;
  uint32_t width;
  uint32_t ldx;
  uint32_t rotary;
  uint32_t interleaved;
  uint32_t maxPos;
};

struct KvWriteArgs {
  float* k;
  float* v;
  int32_t* positions;
  int32_t* rowSegments;
  int32_t* segments;
  int32_t* pages;
  uint8_t* arena;
  uint32_t count;
  uint32_t rows;
  uint32_t kvHeads;
  uint32_t dim;
  uint32_t width;
  uint32_t ldk;
  uint32_t ldv;
  uint32_t nSegments;
  uint32_t tableSize;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layerOffset;
  uint32_t planeStride;
  uint32_t headStride;
  uint32_t kvGroup;
  uint32_t kvType;
};

struct AttentionArgs {
  float* q;
  uint8_t* out;
  int32_t* positions;
  int32_t* segments;
  int32_t* pages;
  uint8_t* arena;
  float* partials;  // or nullptr
  uint32_t count;
  uint32_t rows;
  uint32_t segmentCount;
  uint32_t heads;
  uint32_t kvHeads;
  uint32_t dim;
  uint32_t width;
  uint32_t ldq;
  uint32_t ldo;
  uint32_t nSegments;
  uint32_t tableSize;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layerOffset;
  uint32_t planeStride;
  uint32_t headStride;
  uint32_t kvGroup;
  uint32_t kvType;
  uint32_t window;
  float scale;
  float softcap;
  uint32_t outType;
  uint32_t nPartials;
  uint32_t ldPartials;
};

struct GatedActArgs {
  float* x;
  uint8_t* y;
  uint32_t count;
  uint32_t rows;
  uint32_t dim;
  uint32_t dim2;
  uint32_t ldx;
  uint32_t ldy;
  uint32_t act;
  uint32_t yType;
};

struct LoraShrinkArgs {
  uint8_t* x;
  float* u;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t dIn;
  uint32_t ldx;
  uint32_t ldu;
  uint32_t partStride;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
  uint32_t parts;
  uint32_t xType;
};

struct LoraExpandArgs {
  float* u;
  float* y;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t dOut;
  uint32_t ldy;
  uint32_t ldu;
  uint32_t partStride;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
  uint32_t parts;
  uint32_t outOffset0;
  uint32_t dOut0;
  uint32_t outOffset1;
  uint32_t dOut1;
  uint32_t outOffset2;
  uint32_t dOut2;
};

struct SampleArgs {
  float* logits;
  int32_t* records;
  int32_t* bias;
  int32_t* masks;  // or nullptr
  int32_t* slots;
  int32_t* history;
  int32_t* results;
  uint32_t count;
  uint32_t firstRow;
  uint32_t tileRows;
  uint32_t vocab;
  uint32_t ldl;
  uint32_t maxLogits;
  uint32_t biasWords;
  uint32_t maskRows;
  uint32_t maskWords;
  uint32_t nSlots;
  uint32_t maxLen;
};

struct CopyRowsArgs {
  float* from;
  uint8_t* to;
  uint32_t count;
  uint32_t countFrom;
  uint32_t rows;
  uint32_t dim;
  uint32_t ldFrom;
  uint32_t ldTo;
  uint32_t toType;
};

struct CopyPagesArgs {
  int32_t* pairs;
  uint8_t* arena;
  uint32_t count;
  uint32_t maxPairs;
  uint32_t nPages;
  uint32_t pageBytes;
};

struct AllReduceArgs {
  float* x;
  uint32_t count;
  uint32_t rows;
  uint32_t dim;
  uint32_t ldx;
  uint32_t rank;
  uint32_t size;
};

struct QuantizeRowsArgs {
  uint8_t* x;
  float* q;
  uint32_t count;
  uint32_t countFrom;
  uint32_t rows;
  uint32_t k;
  uint32_t words;
  uint32_t ldx;
  uint32_t ldq;
  uint32_t xType;
};

struct LinearInt8Args {
  float* x;
  uint8_t* w;
  float* b;  // or nullptr
  float* y;
  uint32_t count;
  uint32_t countFrom;
  uint32_t rows;
  uint32_t n;
  uint32_t k;
  uint32_t words;
  uint32_t ldx;
  uint32_t ldy;
  uint32_t dtype;
  uint32_t accumulate;
};

struct RopeKvArgs {
  float* x;
  float* qNorm;  // or nullptr
  float* kNorm;  // or nullptr
  int32_t* positions;
  float* cosSin;
  int32_t* rowSegments;
  int32_t* segments;
  int32_t* pages;
  uint8_t* arena;
  uint32_t count;
  uint32_t rows;
  uint32_t heads;
  uint32_t kvHeads;
  uint32_t dim;
  uint32_t width;
  uint32_t ldx;
  float eps;
  uint32_t plusOne;
  uint32_t rotary;
  uint32_t interleaved;
  uint32_t maxPos;
  uint32_t nSegments;
  uint32_t tableSize;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layerOffset;
  uint32_t planeStride;
  uint32_t headStride;
  uint32_t kvGroup;
  uint32_t kvType;
};

struct SoftcapArgs {
  float* x;
  uint32_t count;
  uint32_t countFrom;
  uint32_t rows;
  uint32_t dim;
  uint32_t ldx;
  float cap;
};

struct RouteExpertsArgs {
  float* logits;
  int32_t* rowAdapters;  // or nullptr
  int32_t* map;  // or nullptr
  int32_t* keys;
  float* weights;
  uint32_t count;
  uint32_t rows;
  uint32_t experts;
  uint32_t topK;
  uint32_t ldl;
  uint32_t nGroups;
  uint32_t topGroups;
  uint32_t normalize;
  float scale;
  uint32_t adapterSlots;
  uint32_t expertSlots;
};

struct GroupExpertsArgs {
  int32_t* keys;
  int32_t* order;
  int32_t* inverse;
  int32_t* spans;
  uint32_t count;
  uint32_t pairs;
  uint32_t nKeys;
  uint32_t maxSpans;
};

struct ExpertLinearArgs {
  uint8_t* x;
  uint8_t* base;
  int32_t* spans;
  int32_t* order;  // or nullptr
  int32_t* types;  // or nullptr
  int32_t* pages;  // or nullptr
  uint8_t* arena;  // or nullptr
  float* y;
  uint32_t count;
  uint32_t pairs;
  uint32_t xRows;
  uint32_t topK;
  uint32_t experts;
  uint32_t n;
  uint32_t k;
  uint32_t outs;
  uint32_t ldx;
  uint32_t ldy;
  uint32_t dtype;
  uint32_t xType;
  uint32_t maxSpans;
  uint32_t expertSlots;
  uint32_t slotPages;
  uint32_t firstUnit;
  uint32_t nPages;
  uint32_t pageBytes;
};

struct CombineExpertsArgs {
  float* y;
  int32_t* inverse;
  float* weights;
  float* gate;  // or nullptr
  float* out;
  uint32_t count;
  uint32_t rows;
  uint32_t topK;
  uint32_t pairs;
  uint32_t dim;
  uint32_t ldy;
  uint32_t ldg;
  uint32_t ldo;
  uint32_t accumulate;
};

struct ExpertShrinkArgs {
  uint8_t* x;
  float* u;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* keys;
  int32_t* inverse;  // or nullptr
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t xRows;
  uint32_t uRows;
  uint32_t pairs;
  uint32_t topK;
  uint32_t experts;
  uint32_t dIn;
  uint32_t ldx;
  uint32_t ldu;
  uint32_t partStride;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
  uint32_t parts;
  uint32_t xType;
};

struct ExpertExpandArgs {
  float* u;
  float* y;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* keys;
  int32_t* inverse;
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t uRows;
  uint32_t pairs;
  uint32_t topK;
  uint32_t experts;
  uint32_t dOut;
  uint32_t ldy;
  uint32_t ldu;
  uint32_t partStride;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
  uint32_t parts;
  uint32_t outOffset0;
  uint32_t dOut0;
  uint32_t outOffset1;
  uint32_t dOut1;
  uint32_t outOffset2;
  uint32_t dOut2;
};

struct LatentKvArgs {
  float* kv;
  float* w;
  float* q;
  float* query;
  int32_t* positions;
  float* cosSin;
  int32_t* rowSegments;
  int32_t* segments;
  int32_t* pages;
  uint8_t* arena;
  uint32_t count;
  uint32_t rows;
  uint32_t heads;
  uint32_t qDim;
  uint32_t latent;
  uint32_t rope;
  uint32_t dim;
  uint32_t qWidth;
  uint32_t width;
  uint32_t ldkv;
  uint32_t ldq;
  uint32_t ldQuery;
  float eps;
  uint32_t interleaved;
  uint32_t maxPos;
  uint32_t nSegments;
  uint32_t tableSize;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layerOffset;
  uint32_t kvGroup;
};

struct HeadLinearArgs {
  float* x;
  uint8_t* w;
  float* y;
  uint32_t count;
  uint32_t rows;
  uint32_t heads;
  uint32_t outs;
  uint32_t n;
  uint32_t k;
  uint32_t xStride;
  uint32_t yStride;
  uint32_t xWidth;
  uint32_t yWidth;
  uint32_t ldx;
  uint32_t ldy;
  uint32_t dtype;
};

struct LatentAttentionArgs {
  float* query;
  float* out;
  int32_t* positions;
  int32_t* segments;
  int32_t* pages;
  uint8_t* arena;
  float* partials;  // or nullptr
  uint32_t count;
  uint32_t rows;
  uint32_t segmentCount;
  uint32_t heads;
  uint32_t latent;
  uint32_t rope;
  uint32_t width;
  uint32_t outWidth;
  uint32_t ldq;
  uint32_t ldo;
  uint32_t nSegments;
  uint32_t tableSize;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layerOffset;
  uint32_t kvGroup;
  float scale;
  uint32_t nPartials;
  uint32_t ldPartials;
};

struct LatentLoraArgs {
  float* x;
  float* y;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t heads;
  uint32_t latent;
  uint32_t headOuts;
  uint32_t firstOut;
  uint32_t outs;
  uint32_t transposed;
  uint32_t xStride;
  uint32_t yStride;
  uint32_t xWidth;
  uint32_t yWidth;
  uint32_t ldx;
  uint32_t ldy;
  uint32_t partStride;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
};

struct EmbedShrinkArgs {
  int32_t* tokens;
  float* u;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t ldu;
  uint32_t partStride;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
};

struct EmbedReplaceArgs {
  int32_t* tokens;
  float* x;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t dim;
  uint32_t ldx;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
};

struct HeadReplaceArgs {
  uint8_t* x;
  float* y;
  int32_t* groups;
  int32_t* groupRows;
  int32_t* tables;
  uint8_t* arena;
  uint32_t groupCount;
  uint32_t groupRowCount;
  uint32_t rows;
  uint32_t dIn;
  uint32_t dOut;
  uint32_t ldx;
  uint32_t ldy;
  uint32_t maxGroups;
  uint32_t maxGroupRows;
  uint32_t nSlots;
  uint32_t slotWords;
  uint32_t nPages;
  uint32_t pageBytes;
  uint32_t layer;
  uint32_t nSites;
  uint32_t site;
  uint32_t xType;
};

inline constexpr OperandInfo kResolveOperands[] = {
    {"tokenIds", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"positions", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"rowSlots", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"slots", OperandKind::kRows, Elem::kI32, Access::kInOut, false, {2, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"history", OperandKind::kRows, Elem::kI32, Access::kInOut, false, {2, 0}, {3, 0}, {3, 0}, kNoParam, kNoParam},
    {"outTokens", OperandKind::kRows, Elem::kI32, Access::kOut, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"outPositions", OperandKind::kRows, Elem::kI32, Access::kOut, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kResolveParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"maxLen", ParamKind::kU32, kNoParam, kNoParam},
    {"vocab", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kEmbedOperands[] = {
    {"table", OperandKind::kPacked, Elem::kByte, Access::kIn, false, {2, 0}, {4, 0}, {4, 0}, 5, 6},
    {"tokens", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"x", OperandKind::kRows, Elem::kF32, Access::kOut, false, {1, 0}, {4, 0}, {7, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kEmbedParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"vocab", ParamKind::kU32, kNoParam, kNoParam},
    {"limit", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"dtype", ParamKind::kU32, kNoParam, kNoParam},
    {"layout", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"scale", ParamKind::kF32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kRmsNormOperands[] = {
    {"r", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {3, 0}, {4, 0}, kNoParam, kNoParam},
    {"add", OperandKind::kRows, Elem::kF32, Access::kIn, true, {2, 0}, {3, 0}, {5, 0}, kNoParam, kNoParam},
    {"w", OperandKind::kRows, Elem::kF32, Access::kIn, false, {3, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kByte, Access::kOut, false, {1, 0}, {3, 0}, {6, 0}, 9, kNoParam},
    {"index", OperandKind::kRows, Elem::kI32, Access::kIn, true, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kRmsNormParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"srcRows", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"ldr", ParamKind::kU32, kNoParam, kNoParam},
    {"ldAdd", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"eps", ParamKind::kF32, kNoParam, kNoParam},
    {"plusOne", ParamKind::kU32, kNoParam, kNoParam},
    {"yType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kHeadNormOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {1, 0}, {4, 0}, {5, 0}, kNoParam, kNoParam},
    {"w", OperandKind::kRows, Elem::kF32, Access::kIn, false, {3, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kHeadNormParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"width", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"eps", ParamKind::kF32, kNoParam, kNoParam},
    {"plusOne", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kLinearOperands[] = {
    {"x", OperandKind::kRows, Elem::kByte, Access::kIn, false, {2, 0}, {4, 0}, {5, 0}, 9, kNoParam},
    {"w", OperandKind::kPacked, Elem::kByte, Access::kIn, false, {3, 0}, {4, 0}, {4, 0}, 7, 10},
    {"b", OperandKind::kRows, Elem::kF32, Access::kIn, true, {3, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {3, 0}, {6, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kLinearParams[] = {
    {"count", ParamKind::kCount, 2, 1},
    {"countFrom", ParamKind::kU32, kNoParam, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"n", ParamKind::kU32, kNoParam, kNoParam},
    {"k", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"dtype", ParamKind::kU32, kNoParam, kNoParam},
    {"accumulate", ParamKind::kU32, kNoParam, kNoParam},
    {"xType", ParamKind::kU32, kNoParam, kNoParam},
    {"layout", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kRopeOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {1, 0}, {4, 0}, {5, 0}, kNoParam, kNoParam},
    {"positions", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"cosSin", OperandKind::kRows, Elem::kF32, Access::kIn, false, {8, 0}, {6, 0}, {6, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kRopeParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"width", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"rotary", ParamKind::kU32, kNoParam, kNoParam},
    {"interleaved", ParamKind::kU32, kNoParam, kNoParam},
    {"maxPos", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kKvWriteOperands[] = {
    {"k", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {4, 0}, {5, 0}, kNoParam, kNoParam},
    {"v", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {4, 0}, {6, 0}, kNoParam, kNoParam},
    {"positions", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"rowSegments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"segments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {7, 0}, {kNoParam, 12}, {kNoParam, 12}, kNoParam, kNoParam},
    {"pages", OperandKind::kRows, Elem::kI32, Access::kIn, false, {8, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kInOut, false, {9, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kKvWriteParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"kvHeads", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"width", ParamKind::kU32, kNoParam, kNoParam},
    {"ldk", ParamKind::kU32, kNoParam, kNoParam},
    {"ldv", ParamKind::kU32, kNoParam, kNoParam},
    {"nSegments", ParamKind::kU32, kNoParam, kNoParam},
    {"tableSize", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layerOffset", ParamKind::kU32, kNoParam, kNoParam},
    {"planeStride", ParamKind::kU32, kNoParam, kNoParam},
    {"headStride", ParamKind::kU32, kNoParam, kNoParam},
    {"kvGroup", ParamKind::kU32, kNoParam, kNoParam},
    {"kvType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kAttentionOperands[] = {
    {"q", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {6, 0}, {7, 0}, kNoParam, kNoParam},
    {"out", OperandKind::kRows, Elem::kByte, Access::kOut, false, {1, 0}, {6, 0}, {8, 0}, 21, kNoParam},
    {"positions", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"segments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {9, 0}, {kNoParam, 12}, {kNoParam, 12}, kNoParam, kNoParam},
    {"pages", OperandKind::kRows, Elem::kI32, Access::kIn, false, {10, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {11, 0}, {12, 0}, {12, 0}, kNoParam, kNoParam},
    {"partials", OperandKind::kRows, Elem::kF32, Access::kScratch, true, {22, 0}, {23, 0}, {23, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kAttentionParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"segmentCount", ParamKind::kCount, 9, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"kvHeads", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"width", ParamKind::kU32, kNoParam, kNoParam},
    {"ldq", ParamKind::kU32, kNoParam, kNoParam},
    {"ldo", ParamKind::kU32, kNoParam, kNoParam},
    {"nSegments", ParamKind::kU32, kNoParam, kNoParam},
    {"tableSize", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layerOffset", ParamKind::kU32, kNoParam, kNoParam},
    {"planeStride", ParamKind::kU32, kNoParam, kNoParam},
    {"headStride", ParamKind::kU32, kNoParam, kNoParam},
    {"kvGroup", ParamKind::kU32, kNoParam, kNoParam},
    {"kvType", ParamKind::kU32, kNoParam, kNoParam},
    {"window", ParamKind::kU32, kNoParam, kNoParam},
    {"scale", ParamKind::kF32, kNoParam, kNoParam},
    {"softcap", ParamKind::kF32, kNoParam, kNoParam},
    {"outType", ParamKind::kU32, kNoParam, kNoParam},
    {"nPartials", ParamKind::kU32, kNoParam, kNoParam},
    {"ldPartials", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kGatedActOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {3, 0}, {4, 0}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kByte, Access::kOut, false, {1, 0}, {2, 0}, {5, 0}, 7, kNoParam},
};
inline constexpr ParamInfo kGatedActParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"dim2", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"act", ParamKind::kU32, kNoParam, kNoParam},
    {"yType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kLoraShrinkOperands[] = {
    {"x", OperandKind::kRows, Elem::kByte, Access::kIn, false, {2, 0}, {3, 0}, {4, 0}, 17, kNoParam},
    {"u", OperandKind::kRows, Elem::kF32, Access::kOut, false, {8, 0}, {5, 0}, {5, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {7, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {8, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {9, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {11, 0}, {12, 0}, {12, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kLoraShrinkParams[] = {
    {"groupCount", ParamKind::kCount, 7, kNoParam},
    {"groupRowCount", ParamKind::kCount, 8, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dIn", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldu", ParamKind::kU32, kNoParam, kNoParam},
    {"partStride", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
    {"parts", ParamKind::kU32, kNoParam, kNoParam},
    {"xType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kLoraExpandOperands[] = {
    {"u", OperandKind::kRows, Elem::kF32, Access::kIn, false, {8, 0}, {5, 0}, {5, 0}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {3, 0}, {4, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {7, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {8, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {9, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {11, 0}, {12, 0}, {12, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kLoraExpandParams[] = {
    {"groupCount", ParamKind::kCount, 7, kNoParam},
    {"groupRowCount", ParamKind::kCount, 8, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"ldu", ParamKind::kU32, kNoParam, kNoParam},
    {"partStride", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
    {"parts", ParamKind::kU32, kNoParam, kNoParam},
    {"outOffset0", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut0", ParamKind::kU32, kNoParam, kNoParam},
    {"outOffset1", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut1", ParamKind::kU32, kNoParam, kNoParam},
    {"outOffset2", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut2", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kSampleOperands[] = {
    {"logits", OperandKind::kRows, Elem::kF32, Access::kIn, false, {2, 0}, {3, 0}, {4, 0}, kNoParam, kNoParam},
    {"records", OperandKind::kRows, Elem::kI32, Access::kIn, false, {5, 0}, {kNoParam, 20}, {kNoParam, 20}, kNoParam, kNoParam},
    {"bias", OperandKind::kRows, Elem::kI32, Access::kIn, false, {6, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"masks", OperandKind::kRows, Elem::kI32, Access::kIn, true, {7, 0}, {8, 0}, {8, 0}, kNoParam, kNoParam},
    {"slots", OperandKind::kRows, Elem::kI32, Access::kInOut, false, {9, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"history", OperandKind::kRows, Elem::kI32, Access::kInOut, false, {9, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
    {"results", OperandKind::kRows, Elem::kI32, Access::kOut, false, {5, 0}, {kNoParam, 48}, {kNoParam, 48}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kSampleParams[] = {
    {"count", ParamKind::kCount, 2, 1},
    {"firstRow", ParamKind::kU32, kNoParam, kNoParam},
    {"tileRows", ParamKind::kU32, kNoParam, kNoParam},
    {"vocab", ParamKind::kU32, kNoParam, kNoParam},
    {"ldl", ParamKind::kU32, kNoParam, kNoParam},
    {"maxLogits", ParamKind::kU32, kNoParam, kNoParam},
    {"biasWords", ParamKind::kU32, kNoParam, kNoParam},
    {"maskRows", ParamKind::kU32, kNoParam, kNoParam},
    {"maskWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"maxLen", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kCopyRowsOperands[] = {
    {"from", OperandKind::kRows, Elem::kF32, Access::kIn, false, {2, 0}, {3, 0}, {4, 0}, kNoParam, kNoParam},
    {"to", OperandKind::kRows, Elem::kByte, Access::kOut, false, {2, 0}, {3, 0}, {5, 0}, 6, kNoParam},
};
inline constexpr ParamInfo kCopyRowsParams[] = {
    {"count", ParamKind::kCount, 2, 1},
    {"countFrom", ParamKind::kU32, kNoParam, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"ldFrom", ParamKind::kU32, kNoParam, kNoParam},
    {"ldTo", ParamKind::kU32, kNoParam, kNoParam},
    {"toType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kCopyPagesOperands[] = {
    {"pairs", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 2}, {kNoParam, 2}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kInOut, false, {2, 0}, {3, 0}, {3, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kCopyPagesParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"maxPairs", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kAllReduceOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {1, 0}, {2, 0}, {3, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kAllReduceParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"rank", ParamKind::kU32, kNoParam, kNoParam},
    {"size", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kQuantizeRowsOperands[] = {
    {"x", OperandKind::kRows, Elem::kByte, Access::kIn, false, {2, 0}, {3, 0}, {5, 0}, 7, kNoParam},
    {"q", OperandKind::kRows, Elem::kF32, Access::kOut, false, {2, 0}, {4, 0}, {6, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kQuantizeRowsParams[] = {
    {"count", ParamKind::kCount, 2, 1},
    {"countFrom", ParamKind::kU32, kNoParam, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"k", ParamKind::kU32, kNoParam, kNoParam},
    {"words", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldq", ParamKind::kU32, kNoParam, kNoParam},
    {"xType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kLinearInt8Operands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kIn, false, {2, 0}, {5, 0}, {6, 0}, kNoParam, kNoParam},
    {"w", OperandKind::kPacked, Elem::kByte, Access::kIn, false, {3, 0}, {4, 0}, {4, 0}, 8, kNoParam},
    {"b", OperandKind::kRows, Elem::kF32, Access::kIn, true, {3, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {3, 0}, {7, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kLinearInt8Params[] = {
    {"count", ParamKind::kCount, 2, 1},
    {"countFrom", ParamKind::kU32, kNoParam, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"n", ParamKind::kU32, kNoParam, kNoParam},
    {"k", ParamKind::kU32, kNoParam, kNoParam},
    {"words", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"dtype", ParamKind::kU32, kNoParam, kNoParam},
    {"accumulate", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kRopeKvOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {1, 0}, {5, 0}, {6, 0}, kNoParam, kNoParam},
    {"qNorm", OperandKind::kRows, Elem::kF32, Access::kIn, true, {4, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"kNorm", OperandKind::kRows, Elem::kF32, Access::kIn, true, {4, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"positions", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"cosSin", OperandKind::kRows, Elem::kF32, Access::kIn, false, {11, 0}, {9, 0}, {9, 0}, kNoParam, kNoParam},
    {"rowSegments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"segments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {12, 0}, {kNoParam, 12}, {kNoParam, 12}, kNoParam, kNoParam},
    {"pages", OperandKind::kRows, Elem::kI32, Access::kIn, false, {13, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kInOut, false, {14, 0}, {15, 0}, {15, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kRopeKvParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"kvHeads", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"width", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"eps", ParamKind::kF32, kNoParam, kNoParam},
    {"plusOne", ParamKind::kU32, kNoParam, kNoParam},
    {"rotary", ParamKind::kU32, kNoParam, kNoParam},
    {"interleaved", ParamKind::kU32, kNoParam, kNoParam},
    {"maxPos", ParamKind::kU32, kNoParam, kNoParam},
    {"nSegments", ParamKind::kU32, kNoParam, kNoParam},
    {"tableSize", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layerOffset", ParamKind::kU32, kNoParam, kNoParam},
    {"planeStride", ParamKind::kU32, kNoParam, kNoParam},
    {"headStride", ParamKind::kU32, kNoParam, kNoParam},
    {"kvGroup", ParamKind::kU32, kNoParam, kNoParam},
    {"kvType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kSoftcapOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {3, 0}, {4, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kSoftcapParams[] = {
    {"count", ParamKind::kCount, 2, 1},
    {"countFrom", ParamKind::kU32, kNoParam, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"cap", ParamKind::kF32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kRouteExpertsOperands[] = {
    {"logits", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {2, 0}, {4, 0}, kNoParam, kNoParam},
    {"rowAdapters", OperandKind::kRows, Elem::kI32, Access::kIn, true, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"map", OperandKind::kRows, Elem::kI32, Access::kIn, true, {9, 0}, {2, 0}, {2, 0}, kNoParam, kNoParam},
    {"keys", OperandKind::kRows, Elem::kI32, Access::kOut, false, {1, 0}, {3, 0}, {3, 0}, kNoParam, kNoParam},
    {"weights", OperandKind::kRows, Elem::kF32, Access::kOut, false, {1, 0}, {3, 0}, {3, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kRouteExpertsParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"experts", ParamKind::kU32, kNoParam, kNoParam},
    {"topK", ParamKind::kU32, kNoParam, kNoParam},
    {"ldl", ParamKind::kU32, kNoParam, kNoParam},
    {"nGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"topGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"normalize", ParamKind::kU32, kNoParam, kNoParam},
    {"scale", ParamKind::kF32, kNoParam, kNoParam},
    {"adapterSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"expertSlots", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kGroupExpertsOperands[] = {
    {"keys", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"order", OperandKind::kRows, Elem::kI32, Access::kOut, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"inverse", OperandKind::kRows, Elem::kI32, Access::kOut, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"spans", OperandKind::kRows, Elem::kI32, Access::kOut, false, {3, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kGroupExpertsParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"pairs", ParamKind::kU32, kNoParam, kNoParam},
    {"nKeys", ParamKind::kU32, kNoParam, kNoParam},
    {"maxSpans", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kExpertLinearOperands[] = {
    {"x", OperandKind::kRows, Elem::kByte, Access::kIn, false, {2, 0}, {6, 0}, {8, 0}, 11, kNoParam},
    {"base", OperandKind::kPacked, Elem::kByte, Access::kIn, false, {7, 0}, {6, 0}, {6, 0}, 10, kNoParam},
    {"spans", OperandKind::kRows, Elem::kI32, Access::kIn, false, {12, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"order", OperandKind::kRows, Elem::kI32, Access::kIn, true, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"types", OperandKind::kRows, Elem::kI32, Access::kIn, true, {13, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"pages", OperandKind::kRows, Elem::kI32, Access::kIn, true, {13, 0}, {14, 0}, {14, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, true, {16, 0}, {17, 0}, {17, 0}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kOut, false, {1, 0}, {5, 0}, {9, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kExpertLinearParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"pairs", ParamKind::kU32, kNoParam, kNoParam},
    {"xRows", ParamKind::kU32, kNoParam, kNoParam},
    {"topK", ParamKind::kU32, kNoParam, kNoParam},
    {"experts", ParamKind::kU32, kNoParam, kNoParam},
    {"n", ParamKind::kU32, kNoParam, kNoParam},
    {"k", ParamKind::kU32, kNoParam, kNoParam},
    {"outs", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"dtype", ParamKind::kU32, kNoParam, kNoParam},
    {"xType", ParamKind::kU32, kNoParam, kNoParam},
    {"maxSpans", ParamKind::kU32, kNoParam, kNoParam},
    {"expertSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotPages", ParamKind::kU32, kNoParam, kNoParam},
    {"firstUnit", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kCombineExpertsOperands[] = {
    {"y", OperandKind::kRows, Elem::kF32, Access::kIn, false, {3, 0}, {4, 0}, {5, 0}, kNoParam, kNoParam},
    {"inverse", OperandKind::kRows, Elem::kI32, Access::kIn, false, {3, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"weights", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {2, 0}, {2, 0}, kNoParam, kNoParam},
    {"gate", OperandKind::kRows, Elem::kF32, Access::kIn, true, {1, 0}, {kNoParam, 1}, {6, 0}, kNoParam, kNoParam},
    {"out", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {1, 0}, {4, 0}, {7, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kCombineExpertsParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"topK", ParamKind::kU32, kNoParam, kNoParam},
    {"pairs", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"ldg", ParamKind::kU32, kNoParam, kNoParam},
    {"ldo", ParamKind::kU32, kNoParam, kNoParam},
    {"accumulate", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kExpertShrinkOperands[] = {
    {"x", OperandKind::kRows, Elem::kByte, Access::kIn, false, {3, 0}, {8, 0}, {9, 0}, 22, kNoParam},
    {"u", OperandKind::kRows, Elem::kF32, Access::kOut, false, {4, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {12, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {13, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"keys", OperandKind::kRows, Elem::kI32, Access::kIn, false, {2, 0}, {6, 0}, {6, 0}, kNoParam, kNoParam},
    {"inverse", OperandKind::kRows, Elem::kI32, Access::kIn, true, {5, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {14, 0}, {15, 0}, {15, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {16, 0}, {17, 0}, {17, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kExpertShrinkParams[] = {
    {"groupCount", ParamKind::kCount, 12, kNoParam},
    {"groupRowCount", ParamKind::kCount, 13, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"xRows", ParamKind::kU32, kNoParam, kNoParam},
    {"uRows", ParamKind::kU32, kNoParam, kNoParam},
    {"pairs", ParamKind::kU32, kNoParam, kNoParam},
    {"topK", ParamKind::kU32, kNoParam, kNoParam},
    {"experts", ParamKind::kU32, kNoParam, kNoParam},
    {"dIn", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldu", ParamKind::kU32, kNoParam, kNoParam},
    {"partStride", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
    {"parts", ParamKind::kU32, kNoParam, kNoParam},
    {"xType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kExpertExpandOperands[] = {
    {"u", OperandKind::kRows, Elem::kF32, Access::kIn, false, {3, 0}, {9, 0}, {9, 0}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {4, 0}, {7, 0}, {8, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {11, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {12, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"keys", OperandKind::kRows, Elem::kI32, Access::kIn, false, {2, 0}, {5, 0}, {5, 0}, kNoParam, kNoParam},
    {"inverse", OperandKind::kRows, Elem::kI32, Access::kIn, false, {4, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {13, 0}, {14, 0}, {14, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {15, 0}, {16, 0}, {16, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kExpertExpandParams[] = {
    {"groupCount", ParamKind::kCount, 11, kNoParam},
    {"groupRowCount", ParamKind::kCount, 12, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"uRows", ParamKind::kU32, kNoParam, kNoParam},
    {"pairs", ParamKind::kU32, kNoParam, kNoParam},
    {"topK", ParamKind::kU32, kNoParam, kNoParam},
    {"experts", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"ldu", ParamKind::kU32, kNoParam, kNoParam},
    {"partStride", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
    {"parts", ParamKind::kU32, kNoParam, kNoParam},
    {"outOffset0", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut0", ParamKind::kU32, kNoParam, kNoParam},
    {"outOffset1", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut1", ParamKind::kU32, kNoParam, kNoParam},
    {"outOffset2", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut2", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kLatentKvOperands[] = {
    {"kv", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {6, 0}, {9, 0}, kNoParam, kNoParam},
    {"w", OperandKind::kRows, Elem::kF32, Access::kIn, false, {4, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"q", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {7, 0}, {10, 0}, kNoParam, kNoParam},
    {"query", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {1, 0}, {8, 0}, {11, 0}, kNoParam, kNoParam},
    {"positions", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"cosSin", OperandKind::kRows, Elem::kF32, Access::kIn, false, {14, 0}, {5, 0}, {5, 0}, kNoParam, kNoParam},
    {"rowSegments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"segments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {15, 0}, {kNoParam, 12}, {kNoParam, 12}, kNoParam, kNoParam},
    {"pages", OperandKind::kRows, Elem::kI32, Access::kIn, false, {16, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kInOut, false, {17, 0}, {18, 0}, {18, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kLatentKvParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"qDim", ParamKind::kU32, kNoParam, kNoParam},
    {"latent", ParamKind::kU32, kNoParam, kNoParam},
    {"rope", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"qWidth", ParamKind::kU32, kNoParam, kNoParam},
    {"width", ParamKind::kU32, kNoParam, kNoParam},
    {"ldkv", ParamKind::kU32, kNoParam, kNoParam},
    {"ldq", ParamKind::kU32, kNoParam, kNoParam},
    {"ldQuery", ParamKind::kU32, kNoParam, kNoParam},
    {"eps", ParamKind::kF32, kNoParam, kNoParam},
    {"interleaved", ParamKind::kU32, kNoParam, kNoParam},
    {"maxPos", ParamKind::kU32, kNoParam, kNoParam},
    {"nSegments", ParamKind::kU32, kNoParam, kNoParam},
    {"tableSize", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layerOffset", ParamKind::kU32, kNoParam, kNoParam},
    {"kvGroup", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kHeadLinearOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {8, 0}, {10, 0}, kNoParam, kNoParam},
    {"w", OperandKind::kPacked, Elem::kByte, Access::kIn, false, {3, 0}, {5, 0}, {5, 0}, 12, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {1, 0}, {9, 0}, {11, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kHeadLinearParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"outs", ParamKind::kU32, kNoParam, kNoParam},
    {"n", ParamKind::kU32, kNoParam, kNoParam},
    {"k", ParamKind::kU32, kNoParam, kNoParam},
    {"xStride", ParamKind::kU32, kNoParam, kNoParam},
    {"yStride", ParamKind::kU32, kNoParam, kNoParam},
    {"xWidth", ParamKind::kU32, kNoParam, kNoParam},
    {"yWidth", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"dtype", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kLatentAttentionOperands[] = {
    {"query", OperandKind::kRows, Elem::kF32, Access::kIn, false, {1, 0}, {6, 0}, {8, 0}, kNoParam, kNoParam},
    {"out", OperandKind::kRows, Elem::kF32, Access::kOut, false, {1, 0}, {7, 0}, {9, 0}, kNoParam, kNoParam},
    {"positions", OperandKind::kRows, Elem::kI32, Access::kIn, false, {1, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"segments", OperandKind::kRows, Elem::kI32, Access::kIn, false, {10, 0}, {kNoParam, 12}, {kNoParam, 12}, kNoParam, kNoParam},
    {"pages", OperandKind::kRows, Elem::kI32, Access::kIn, false, {11, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {12, 0}, {13, 0}, {13, 0}, kNoParam, kNoParam},
    {"partials", OperandKind::kRows, Elem::kF32, Access::kScratch, true, {17, 0}, {18, 0}, {18, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kLatentAttentionParams[] = {
    {"count", ParamKind::kCount, 1, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"segmentCount", ParamKind::kCount, 10, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"latent", ParamKind::kU32, kNoParam, kNoParam},
    {"rope", ParamKind::kU32, kNoParam, kNoParam},
    {"width", ParamKind::kU32, kNoParam, kNoParam},
    {"outWidth", ParamKind::kU32, kNoParam, kNoParam},
    {"ldq", ParamKind::kU32, kNoParam, kNoParam},
    {"ldo", ParamKind::kU32, kNoParam, kNoParam},
    {"nSegments", ParamKind::kU32, kNoParam, kNoParam},
    {"tableSize", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layerOffset", ParamKind::kU32, kNoParam, kNoParam},
    {"kvGroup", ParamKind::kU32, kNoParam, kNoParam},
    {"scale", ParamKind::kF32, kNoParam, kNoParam},
    {"nPartials", ParamKind::kU32, kNoParam, kNoParam},
    {"ldPartials", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kLatentLoraOperands[] = {
    {"x", OperandKind::kRows, Elem::kF32, Access::kIn, false, {2, 0}, {11, 0}, {13, 0}, kNoParam, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {12, 0}, {14, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {16, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {17, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {18, 0}, {19, 0}, {19, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {20, 0}, {21, 0}, {21, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kLatentLoraParams[] = {
    {"groupCount", ParamKind::kCount, 16, kNoParam},
    {"groupRowCount", ParamKind::kCount, 17, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"heads", ParamKind::kU32, kNoParam, kNoParam},
    {"latent", ParamKind::kU32, kNoParam, kNoParam},
    {"headOuts", ParamKind::kU32, kNoParam, kNoParam},
    {"firstOut", ParamKind::kU32, kNoParam, kNoParam},
    {"outs", ParamKind::kU32, kNoParam, kNoParam},
    {"transposed", ParamKind::kU32, kNoParam, kNoParam},
    {"xStride", ParamKind::kU32, kNoParam, kNoParam},
    {"yStride", ParamKind::kU32, kNoParam, kNoParam},
    {"xWidth", ParamKind::kU32, kNoParam, kNoParam},
    {"yWidth", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"partStride", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kEmbedShrinkOperands[] = {
    {"tokens", OperandKind::kRows, Elem::kI32, Access::kIn, false, {2, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"u", OperandKind::kRows, Elem::kF32, Access::kOut, false, {6, 0}, {3, 0}, {3, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {5, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {6, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {7, 0}, {8, 0}, {8, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {9, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kEmbedShrinkParams[] = {
    {"groupCount", ParamKind::kCount, 5, kNoParam},
    {"groupRowCount", ParamKind::kCount, 6, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"ldu", ParamKind::kU32, kNoParam, kNoParam},
    {"partStride", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kEmbedReplaceOperands[] = {
    {"tokens", OperandKind::kRows, Elem::kI32, Access::kIn, false, {2, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"x", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {3, 0}, {4, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {5, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {6, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {7, 0}, {8, 0}, {8, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {9, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kEmbedReplaceParams[] = {
    {"groupCount", ParamKind::kCount, 5, kNoParam},
    {"groupRowCount", ParamKind::kCount, 6, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dim", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OperandInfo kHeadReplaceOperands[] = {
    {"x", OperandKind::kRows, Elem::kByte, Access::kIn, false, {2, 0}, {3, 0}, {5, 0}, 16, kNoParam},
    {"y", OperandKind::kRows, Elem::kF32, Access::kInOut, false, {2, 0}, {4, 0}, {6, 0}, kNoParam, kNoParam},
    {"groups", OperandKind::kRows, Elem::kI32, Access::kIn, false, {7, 0}, {kNoParam, 4}, {kNoParam, 4}, kNoParam, kNoParam},
    {"groupRows", OperandKind::kRows, Elem::kI32, Access::kIn, false, {8, 0}, {kNoParam, 1}, {kNoParam, 1}, kNoParam, kNoParam},
    {"tables", OperandKind::kTable, Elem::kI32, Access::kIn, false, {9, 0}, {10, 0}, {10, 0}, kNoParam, kNoParam},
    {"arena", OperandKind::kArena, Elem::kByte, Access::kIn, false, {11, 0}, {12, 0}, {12, 0}, kNoParam, kNoParam},
};
inline constexpr ParamInfo kHeadReplaceParams[] = {
    {"groupCount", ParamKind::kCount, 7, kNoParam},
    {"groupRowCount", ParamKind::kCount, 8, kNoParam},
    {"rows", ParamKind::kU32, kNoParam, kNoParam},
    {"dIn", ParamKind::kU32, kNoParam, kNoParam},
    {"dOut", ParamKind::kU32, kNoParam, kNoParam},
    {"ldx", ParamKind::kU32, kNoParam, kNoParam},
    {"ldy", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroups", ParamKind::kU32, kNoParam, kNoParam},
    {"maxGroupRows", ParamKind::kU32, kNoParam, kNoParam},
    {"nSlots", ParamKind::kU32, kNoParam, kNoParam},
    {"slotWords", ParamKind::kU32, kNoParam, kNoParam},
    {"nPages", ParamKind::kU32, kNoParam, kNoParam},
    {"pageBytes", ParamKind::kU32, kNoParam, kNoParam},
    {"layer", ParamKind::kU32, kNoParam, kNoParam},
    {"nSites", ParamKind::kU32, kNoParam, kNoParam},
    {"site", ParamKind::kU32, kNoParam, kNoParam},
    {"xType", ParamKind::kU32, kNoParam, kNoParam},
};

inline constexpr OpInfo kOps[kOpCount] = {
    {nullptr, 0, 0, 0, nullptr, nullptr},
    {"resolve", 7, 5, sizeof(ResolveArgs), kResolveOperands, kResolveParams},
    {"embed", 3, 9, sizeof(EmbedArgs), kEmbedOperands, kEmbedParams},
    {"rmsNorm", 5, 10, sizeof(RmsNormArgs), kRmsNormOperands, kRmsNormParams},
    {"headNorm", 2, 8, sizeof(HeadNormArgs), kHeadNormOperands, kHeadNormParams},
    {"linear", 4, 11, sizeof(LinearArgs), kLinearOperands, kLinearParams},
    {"rope", 3, 9, sizeof(RopeArgs), kRopeOperands, kRopeParams},
    {"kvWrite", 7, 16, sizeof(KvWriteArgs), kKvWriteOperands, kKvWriteParams},
    {"attention", 7, 24, sizeof(AttentionArgs), kAttentionOperands, kAttentionParams},
    {"gatedAct", 2, 8, sizeof(GatedActArgs), kGatedActOperands, kGatedActParams},
    {"loraShrink", 6, 18, sizeof(LoraShrinkArgs), kLoraShrinkOperands, kLoraShrinkParams},
    {"loraExpand", 6, 23, sizeof(LoraExpandArgs), kLoraExpandOperands, kLoraExpandParams},
    {"sample", 7, 11, sizeof(SampleArgs), kSampleOperands, kSampleParams},
    {"copyRows", 2, 7, sizeof(CopyRowsArgs), kCopyRowsOperands, kCopyRowsParams},
    {"copyPages", 2, 4, sizeof(CopyPagesArgs), kCopyPagesOperands, kCopyPagesParams},
    {"allReduce", 1, 6, sizeof(AllReduceArgs), kAllReduceOperands, kAllReduceParams},
    {"quantizeRows", 2, 8, sizeof(QuantizeRowsArgs), kQuantizeRowsOperands, kQuantizeRowsParams},
    {"linearInt8", 4, 10, sizeof(LinearInt8Args), kLinearInt8Operands, kLinearInt8Params},
    {"ropeKv", 9, 21, sizeof(RopeKvArgs), kRopeKvOperands, kRopeKvParams},
    {"softcap", 1, 6, sizeof(SoftcapArgs), kSoftcapOperands, kSoftcapParams},
    {"routeExperts", 5, 11, sizeof(RouteExpertsArgs), kRouteExpertsOperands, kRouteExpertsParams},
    {"groupExperts", 4, 4, sizeof(GroupExpertsArgs), kGroupExpertsOperands, kGroupExpertsParams},
    {"expertLinear", 8, 18, sizeof(ExpertLinearArgs), kExpertLinearOperands, kExpertLinearParams},
    {"combineExperts", 5, 9, sizeof(CombineExpertsArgs), kCombineExpertsOperands, kCombineExpertsParams},
    {"expertShrink", 8, 23, sizeof(ExpertShrinkArgs), kExpertShrinkOperands, kExpertShrinkParams},
    {"expertExpand", 8, 27, sizeof(ExpertExpandArgs), kExpertExpandOperands, kExpertExpandParams},
    {"latentKv", 10, 21, sizeof(LatentKvArgs), kLatentKvOperands, kLatentKvParams},
    {"headLinear", 3, 13, sizeof(HeadLinearArgs), kHeadLinearOperands, kHeadLinearParams},
    {"latentAttention", 7, 19, sizeof(LatentAttentionArgs), kLatentAttentionOperands, kLatentAttentionParams},
    {"latentLora", 6, 25, sizeof(LatentLoraArgs), kLatentLoraOperands, kLatentLoraParams},
    {"embedShrink", 6, 14, sizeof(EmbedShrinkArgs), kEmbedShrinkOperands, kEmbedShrinkParams},
    {"embedReplace", 6, 14, sizeof(EmbedReplaceArgs), kEmbedReplaceOperands, kEmbedReplaceParams},
    {"headReplace", 6, 17, sizeof(HeadReplaceArgs), kHeadReplaceOperands, kHeadReplaceParams},
};

}  // namespace weft
