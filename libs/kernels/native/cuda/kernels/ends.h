// What adapters do at the ends of a model, beside the LoRA ops (which run there too). Items are rows of groups; of headReplace some
// rows of an adapter's head for some rows of its group, as in loraShrink.
#pragma once
#include "cuda/kernels/lora.h"

namespace weft {
namespace cuda {

// The token of an entry of groupRows; -1 where there is none.
template <class Args>
WEFT_DEVICE int32_t tokenOfEntry(const Args& a, const Step& step, uint32_t entry) {
  if (!hasRow(a, step, entry)) return -1;
  const int32_t token = a.tokens[loraRow(a, entry)];
  return within(step, Bound::kToken, loraRow(a, entry), token, 0x7fffffff) ? token : -1;
}

template <class Args, class Find, class Use>
WEFT_DEVICE void shareEntries(const Args& a, const Step& step, Find find, Use use) {
  const uint32_t groups = counted(step, a.groupCount, a.maxGroups), groupRows = counted(step, a.groupRowCount, a.maxGroupRows);
  shareWork(groups,
    [&](uint32_t g) {
      const RowGroup group = groupAt(a, step, groupRows, g);
      return entryOf(group.rows > 0 && find(group).units > 0 ? group.rows : 0);
    },
    [&](uint32_t g, uint32_t item, uint32_t) {
      const RowGroup group = groupAt(a, step, groupRows, g);
      use(group, find(group), group.first + item);
    });
}

WEFT_KERNEL_BOUNDS(embedShrink, EmbedShrinkArgs, kLoraThreads, 4) {
  shareEntries(a, step,
    [&](const RowGroup& group) {
      const int32_t* words = runWords(a, group, 0, 0);
      if (words[kRunUnits] == 0 || !rankFits(a, step, words)) return Run{};
      return checkedRun(a, step, group, words, static_cast<uint32_t>(words[kRunUnits]), static_cast<uint64_t>(static_cast<uint32_t>(words[kRunRank])) * 128);
    },
    [&](const RowGroup&, const Run& run, uint32_t entry) {
      const int32_t token = tokenOfEntry(a, step, entry);
      if (token < 0) return;
      const uint32_t unit = static_cast<uint32_t>(token) / 64;
      const uint8_t* units = unit < run.units ? unitAt(a, step, run, unit) : nullptr;
      const uint32_t first = static_cast<uint32_t>(token) % 64 * run.rank;
      float* u = a.u + static_cast<uint64_t>(entry) * a.ldu;
      for (uint32_t j = threadIdx.x; j < run.rank; j += kLoraThreads) {
        u[j] = !units ? 0.0f : run.dtype == kDTypeBf16 ? StoredBf16::one(units, first + j) : StoredF16::one(units, first + j);
      }
    });
}

WEFT_KERNEL_BOUNDS(embedReplace, EmbedReplaceArgs, kLoraThreads, 4) {
  shareEntries(a, step, [&](const RowGroup& group) { return endRowsOf(a, step, group, a.dim); },
    [&](const RowGroup& group, const Run& run, uint32_t entry) {
      const int32_t token = tokenOfEntry(a, step, entry);
      const uint8_t* row = token >= 0 ? rowOfToken(a, step, run, token) : nullptr;
      if (!row) return;
      float* x = a.x + static_cast<uint64_t>(loraRow(a, entry)) * a.ldx;
      for (uint32_t i = threadIdx.x; i < a.dim; i += kLoraThreads) {
        const float own = product(run.scale, run.dtype == kDTypeBf16 ? StoredBf16::one(row, i) : StoredF16::one(row, i));
        x[i] = group.weight == 1.0f ? own : fmaf(group.weight, own - x[i], x[i]);
      }
    });
}

WEFT_KERNEL_BOUNDS(headReplace, HeadReplaceArgs, kLoraThreads, 4) {
  const uint32_t groups = counted(step, a.groupCount, a.maxGroups), groupRows = counted(step, a.groupRowCount, a.maxGroupRows);
  shareWork(groups,
    [&](uint32_t g) {
      const RowGroup group = groupAt(a, step, groupRows, g);
      if (group.rows == 0) return entryOf(0);
      return entryOf((endRowsOf(a, step, group, a.dIn).units + kShrinkRanks - 1) / kShrinkRanks * tilesOf(group));
    },
    [&](uint32_t g, uint32_t item, uint32_t) {
      const RowGroup group = groupAt(a, step, groupRows, g);
      const Run run = endRowsOf(a, step, group, a.dIn);
      const uint32_t tiles = tilesOf(group);
      const RowTile tile = tileOf(group, item % tiles);
      shrink(a, step, run, item / tiles * kShrinkRanks, tile, [&](uint32_t r, uint32_t unit, float logit) {
        const uint8_t* row = run.tail ? unitAt(a, step, run, unit) : nullptr;
        if (run.tail && !row) return;
        const int32_t token = tokenOf(run, unit, row);
        if (!within(step, Bound::kToken, unit, token, a.dOut)) return;
        float& y = a.y[static_cast<uint64_t>(loraRow(a, tile.entry + r)) * a.ldy + static_cast<uint32_t>(token)];
        y = group.weight == 1.0f ? logit : fmaf(group.weight, logit - y, y);
      });
    });
}

}  // namespace cuda
}  // namespace weft
