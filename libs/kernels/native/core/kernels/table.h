// All kernels of one instruction set. A kernels_<isa>.cpp defines WEFT_ISA, includes its simd_*.h and this, and places
// the table under its name.
#pragma once
#include "../int8_format.h"
#include "../tuning.h"
#include "frame.h"
#include "formats.h"
#include "tiles.h"
#include "vmath.h"
#include "resolve.h"
#include "embed.h"
#include "norm.h"
#include "linear.h"
#include "quantize.h"
#include "linear_int8.h"
#include "experts.h"
#include "expert_linear.h"
#include "rope.h"
#include "kv.h"
#include "softmax.h"
#include "attention_tiles.h"
#include "attention.h"
#include "latent.h"
#include "latent_attention.h"
#include "act.h"
#include "adapter.h"
#include "lora_shrink.h"
#include "lora_expand.h"
#include "ends.h"
#include "expert_lora.h"
#include "latent_lora.h"
#include "philox.h"
#include "select.h"
#include "logits.h"
#include "sample.h"
#include "copy.h"

// In the order of the op codes, which never change; code 0 is no op.
#define WEFT_KERNEL_TABLE                                                                                        \
  {                                                                                                              \
    {nullptr, nullptr}, {WEFT_ISA::resolveTiles, WEFT_ISA::resolveRun}, {WEFT_ISA::embedTiles, WEFT_ISA::embedRun}, \
        {WEFT_ISA::rmsNormTiles, WEFT_ISA::rmsNormRun}, {WEFT_ISA::headNormTiles, WEFT_ISA::headNormRun},        \
        {WEFT_ISA::linearTiles, WEFT_ISA::linearRun}, {WEFT_ISA::ropeTiles, WEFT_ISA::ropeRun},                  \
        {WEFT_ISA::kvWriteTiles, WEFT_ISA::kvWriteRun}, {WEFT_ISA::attentionTiles, WEFT_ISA::attentionRun, WEFT_ISA::attentionMergeTiles, WEFT_ISA::attentionMerge},      \
        {WEFT_ISA::gatedActTiles, WEFT_ISA::gatedActRun}, {WEFT_ISA::loraShrinkTiles, WEFT_ISA::loraShrinkRun},  \
        {WEFT_ISA::loraExpandTiles, WEFT_ISA::loraExpandRun}, {WEFT_ISA::sampleTiles, WEFT_ISA::sampleRun},      \
        {WEFT_ISA::copyRowsTiles, WEFT_ISA::copyRowsRun}, {WEFT_ISA::copyPagesTiles, WEFT_ISA::copyPagesRun},    \
        {WEFT_ISA::allReduceTiles, WEFT_ISA::allReduceRun},                                                      \
        {WEFT_ISA::quantizeRowsTiles, WEFT_ISA::quantizeRowsRun},                                                \
        {WEFT_ISA::linearInt8Tiles, WEFT_ISA::linearInt8Run},                                                    \
        {WEFT_ISA::ropeKvTiles, WEFT_ISA::ropeKvRun}, {WEFT_ISA::softcapTiles, WEFT_ISA::softcapRun},            \
        {WEFT_ISA::routeExpertsTiles, WEFT_ISA::routeExpertsRun}, {WEFT_ISA::groupExpertsTiles, WEFT_ISA::groupExpertsRun},             \
        {WEFT_ISA::expertLinearTiles, WEFT_ISA::expertLinearRun}, {WEFT_ISA::combineExpertsTiles, WEFT_ISA::combineExpertsRun},         \
        {WEFT_ISA::expertShrinkTiles, WEFT_ISA::expertShrinkRun}, {WEFT_ISA::expertExpandTiles, WEFT_ISA::expertExpandRun},             \
        {WEFT_ISA::latentKvTiles, WEFT_ISA::latentKvRun}, {WEFT_ISA::headLinearTiles, WEFT_ISA::headLinearRun}, \
        {WEFT_ISA::latentAttentionTiles, WEFT_ISA::latentAttentionRun, WEFT_ISA::latentMergeTiles, WEFT_ISA::latentMerge}, \
        {WEFT_ISA::latentLoraTiles, WEFT_ISA::latentLoraRun},                                                    \
        {WEFT_ISA::embedShrinkTiles, WEFT_ISA::embedShrinkRun}, {WEFT_ISA::embedReplaceTiles, WEFT_ISA::embedReplaceRun}, \
        {WEFT_ISA::headReplaceTiles, WEFT_ISA::headReplaceRun},                                                  \
  }
