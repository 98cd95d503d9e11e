#include "gpu/llama_record.h"

#include <algorithm>
#include <cmath>

namespace weft {
namespace gpu {

// What a bucket has room for.
Llama::Recorder::Recorder(const Llama& model, uint32_t tokens)
    : m_(model), shape_(model.sizes_.model), at_(model.layout_), c_(model.capacity_),
      pageBytes_(static_cast<uint32_t>(model.kv.pageBytes)) {
  c_.groupRows = std::min(c_.groupRows, tokens * ((c_.groupRows + c_.tokens - 1) / c_.tokens));
  c_.groups = std::min(c_.groups, c_.groupRows);
  c_.segments = std::min(c_.segments, tokens);
  c_.logits = std::min(c_.logits, tokens);
  c_.tokens = tokens;
}

std::vector<uint32_t> Llama::Recorder::words() {
  list_.add(kOpCopyPages, {{"pairs", frame(at_.pagePairs)}, {"arena", m_.arena_}},
            {{"count", kHeaderPagePairs}, {"maxPairs", c_.pagePairs}, {"nPages", m_.pages_}, {"pageBytes", pageBytes_}});
  embed();
  for (uint32_t i = 0; i < shape_.layers; i++) {
    norm(m_.layers_[i].inputNorm, i == 0 ? nullptr : &m_.delta_);
    attention(m_.layers_[i], i);
    norm(m_.layers_[i].postNorm, &m_.delta_);
    mlp(m_.layers_[i], i);
  }
  finalNorm();
  for (uint32_t row = 0; row < c_.logits; row += kLogitTile) sampleTile(row);
  return list_.words();
}

void Llama::Recorder::embed() {
  const uint32_t slots = 2 * m_.sizes_.maxSequences;
  list_.add(kOpResolve,
            {{"tokenIds", frame(at_.tokenIds)}, {"positions", frame(at_.positions)}, {"rowSlots", frame(at_.rowSlots)},
             {"slots", m_.slots_}, {"history", m_.history_}, {"outTokens", m_.tokens_}, {"outPositions", m_.positions_}},
            {{"count", kHeaderTokens}, {"rows", c_.tokens}, {"nSlots", slots}, {"maxLen", m_.sizes_.maxLen}, {"vocab", shape_.vocab}});
  list_.add(kOpEmbed, {{"table", m_.embed_}, {"tokens", m_.tokens_}, {"x", m_.residual_.ref}},
            {{"count", kHeaderTokens}, {"rows", c_.tokens}, {"vocab", shape_.vocab}, {"dim", shape_.hidden}, {"dtype", kDTypeBf16},
             {"layout", 1u}, {"ldx", m_.residual_.ld}, {"scale", 1.0f}});
}

void Llama::Recorder::norm(Ref weight, const Rows* add) {
  list_.add(kOpRmsNorm, {{"r", m_.residual_.ref}, {"add", add ? add->ref : Ref{}}, {"w", weight}, {"y", m_.normed_.ref}, {"index", {}}},
            {{"count", kHeaderTokens}, {"rows", c_.tokens}, {"srcRows", c_.tokens}, {"dim", shape_.hidden}, {"ldr", m_.residual_.ld},
             {"ldAdd", add ? add->ld : 0}, {"ldy", m_.normed_.ld}, {"eps", 1e-5f}, {"plusOne", 0u}, {"yType", m_.normed_.type}});
}

void Llama::Recorder::finalNorm() {
  list_.add(kOpRmsNorm,
            {{"r", m_.residual_.ref}, {"add", m_.delta_.ref}, {"w", m_.norm_}, {"y", {kBindingHidden, 0}}, {"index", frame(at_.logitRows)}},
            {{"count", kHeaderLogits}, {"rows", c_.logits}, {"srcRows", c_.tokens}, {"dim", shape_.hidden}, {"ldr", m_.residual_.ld},
             {"ldAdd", m_.delta_.ld}, {"ldy", shape_.hidden}, {"eps", 1e-5f}, {"plusOne", 0u}, {"yType", kDTypeF32}});
}

void Llama::Recorder::attention(const Layer& layer, uint32_t number) {
  const uint32_t q = shape_.heads * shape_.headDim, kv = shape_.kvHeads * shape_.headDim;
  const Params rows{{"count", kHeaderTokens}, {"rows", c_.tokens}, {"heads", shape_.heads}};
  const Params paged = pagedParams(shape_, m_.kv, number, c_.segments, c_.pageTable, m_.pages_);
  const Operands pages{{"segments", frame(at_.segments)}, {"pages", frame(at_.pages)}, {"arena", m_.arena_}, {"positions", m_.positions_}};
  linear(layer.qkv, m_.normed_, m_.wide_, {{"count", kHeaderTokens}, {"countFrom", 0u}, {"rows", c_.tokens}});
  lora(number, 0, 3, m_.normed_, m_.wide_);
  const Operands turned{{"x", m_.wide_.ref}, {"qNorm", {}}, {"kNorm", {}}, {"cosSin", m_.cosSin_}, {"rowSegments", frame(at_.rowSegments)}};
  list_.add(kOpRopeKv, turned + pages,
            Params{{"width", q + 2 * kv}, {"ldx", m_.wide_.ld}, {"eps", 1e-5f}, {"plusOne", 0u}, {"rotary", shape_.headDim},
                   {"interleaved", 0u}, {"maxPos", m_.sizes_.maxLen}} + rows + paged);
  list_.add(kOpAttention, Operands{{"q", m_.wide_.ref}, {"out", m_.inner_.ref}, {"partials", m_.partials_.ref}} + pages,
            Params{{"segmentCount", kHeaderSegments}, {"width", q}, {"ldq", m_.wide_.ld}, {"ldo", m_.inner_.ld}, {"window", 0u},
                   {"scale", 1 / std::sqrt(static_cast<float>(shape_.headDim))}, {"softcap", 0.0f}, {"outType", m_.inner_.type},
                   {"nPartials", m_.nPartials_}, {"ldPartials", m_.partials_.ld}} + rows + paged);
  linear(layer.o, m_.inner_, m_.delta_, {{"count", kHeaderTokens}, {"countFrom", 0u}, {"rows", c_.tokens}});
  lora(number, 3, 1, m_.inner_, m_.delta_);
}

void Llama::Recorder::mlp(const Layer& layer, uint32_t number) {
  const Params rows{{"count", kHeaderTokens}, {"countFrom", 0u}, {"rows", c_.tokens}};
  linear(layer.gateUp, m_.normed_, m_.wide_, rows);
  lora(number, 4, 2, m_.normed_, m_.wide_);
  list_.add(kOpGatedAct, {{"x", m_.wide_.ref}, {"y", m_.inner_.ref}},
            {{"count", kHeaderTokens}, {"rows", c_.tokens}, {"dim", shape_.intermediate}, {"dim2", 2 * shape_.intermediate},
             {"ldx", m_.wide_.ld}, {"ldy", m_.inner_.ld}, {"act", kActivationSilu}, {"yType", m_.inner_.type}});
  linear(layer.down, m_.inner_, m_.delta_, rows);
  lora(number, 6, 1, m_.inner_, m_.delta_);
}

void Llama::Recorder::linear(const Matrix& w, const Rows& x, const Rows& y, const Params& rows) {
  list_.add(kOpLinear, {{"x", x.ref}, {"w", w.ref}, {"b", {}}, {"y", y.ref}},
            Params{{"n", w.n}, {"k", w.k}, {"ldx", x.ld}, {"ldy", y.ld}, {"dtype", kDTypeBf16}, {"accumulate", 0u}, {"xType", x.type},
                   {"layout", 1u}} + rows);
}

void Llama::Recorder::lora(uint32_t layer, uint32_t firstSite, uint32_t parts, const Rows& x, const Rows& y) {
  const std::vector<AdapterSite> sites = sitesOf(shape_);
  const auto width = [&](uint32_t part) { return part < parts ? sites[firstSite + part].dOut : 0; };
  const Operands adapters{{"groups", frame(at_.groups)}, {"groupRows", frame(at_.groupRows)}, {"tables", m_.tables_}, {"arena", m_.arena_},
                          {"u", m_.shrunk_.ref}};
  const Params shared{{"groupCount", kHeaderGroups}, {"groupRowCount", kHeaderGroupRows}, {"rows", c_.tokens}, {"ldu", m_.shrunk_.ld},
                      {"partStride", (m_.sizes_.maxRank + 15) / 16 * 16}, {"maxGroups", c_.groups}, {"maxGroupRows", c_.groupRows},
                      {"nSlots", m_.adapterSlots_}, {"slotWords", m_.slotWords_}, {"nPages", m_.pages_},
                      {"pageBytes", pageBytes_}, {"layer", layer}, {"nSites", kSites}, {"site", firstSite}, {"parts", parts}};
  list_.add(kOpLoraShrink, Operands{{"x", x.ref}} + adapters,
            Params{{"dIn", sites[firstSite].dIn}, {"ldx", x.ld}, {"xType", x.type}} + shared);
  list_.add(kOpLoraExpand, Operands{{"y", y.ref}} + adapters,
            Params{{"dOut", width(0) + width(1) + width(2)}, {"ldy", y.ld}, {"outOffset0", 0u}, {"dOut0", width(0)},
                   {"outOffset1", width(0)}, {"dOut1", width(1)}, {"outOffset2", width(0) + width(1)}, {"dOut2", width(2)}} + shared);
}

void Llama::Recorder::sampleTile(uint32_t firstRow) {
  const uint32_t tileRows = std::min(kLogitTile, c_.logits - firstRow);
  const Params rows{{"count", kHeaderLogits}, {"countFrom", firstRow}, {"rows", tileRows}};
  list_.add(kOpCopyRows, {{"from", {kBindingHidden, uint64_t{firstRow} * shape_.hidden * 4}}, {"to", m_.headInput_.ref}},
            Params{{"dim", shape_.hidden}, {"ldFrom", shape_.hidden}, {"ldTo", m_.headInput_.ld}, {"toType", m_.headInput_.type}} + rows);
  linear(m_.head_, m_.headInput_, m_.logits_, rows);
  list_.add(kOpSample,
            {{"logits", m_.logits_.ref}, {"records", frame(at_.samples)}, {"bias", frame(at_.bias)}, {"masks", {}}, {"slots", m_.slots_},
             {"history", m_.history_}, {"results", {kBindingResults, 0}}},
            {{"count", kHeaderLogits}, {"firstRow", firstRow}, {"tileRows", tileRows}, {"vocab", shape_.vocab}, {"ldl", m_.logits_.ld},
             {"maxLogits", c_.logits}, {"biasWords", 2 * c_.biasPairs}, {"maskRows", 0u}, {"maskWords", (shape_.vocab + 31) / 32},
             {"nSlots", 2 * m_.sizes_.maxSequences}, {"maxLen", m_.sizes_.maxLen}});
}

}  // namespace gpu
}  // namespace weft
