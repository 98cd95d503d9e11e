// Finding an adapter's bytes: the run of a site in a slot's table, and its units through segs. Nothing is copied.
#pragma once

namespace weft {
namespace WEFT_ISA {

struct Run {
  const int32_t* table;                                  // of the adapter's slot
  const int32_t* words;

  template <class Args>
  WEFT_INLINE Run of(const Args& a, const int32_t* group, uint32_t part, uint32_t half) {
    const int32_t* table = a.tables + (size_t)group[kGroupAdapterSlot] * a.slotWords;
    return {table, table + ((size_t)(a.layer * a.nSites + a.site + part) * 2 + half) * kRunWords};
  }
  uint32_t units() const { return words[kRunUnits]; }
  uint32_t rank() const { return words[kRunRank]; }
  uint32_t dtype() const { return words[kRunDtype]; }
  float scale() const { return wordAsFloat(words[kRunScale]); }
  uint32_t unitBytes() const { return words[kRunUnitBytes]; }
  bool hasTail() const { return words[kRunTail] != 0; }

  // Bytes of any unit.
  const uint8_t* unitAt(uint32_t unit, const uint8_t* arena) const {
    const int32_t* segs = table + words[kRunFirstSeg];
    uint32_t low = 0, high = words[kRunSegs] - 1;        // the last seg that does not begin behind the unit
    while (low < high) {
      const uint32_t middle = (low + high + 1) / 2;
      if ((uint32_t)segs[middle * kSegWords + kSegFirstUnit] <= unit) low = middle;
      else high = middle - 1;
    }
    const int32_t* seg = segs + low * kSegWords;
    return arena + (size_t)(uint32_t)seg[kSegAt] * 128 + (size_t)(unit - seg[kSegFirstUnit]) * unitBytes();
  }
};

// Rows of an end (kEnd…Rows): a unit a row, and with a tail the token that it is of behind it.
struct EndRows {
  const Run& run;
  const uint8_t* arena;

  uint32_t tokenOf(uint32_t unit, const uint8_t* row) const {
    return run.hasTail() ? *reinterpret_cast<const uint32_t*>(row + run.unitBytes() - kIdBytes) : unit;
  }
  // The row of a token, or nullptr.
  const uint8_t* of(uint32_t token) const {
    uint32_t low = 0, high = run.units();
    if (!run.hasTail()) return token < high ? run.unitAt(token, arena) : nullptr;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      const uint8_t* row = run.unitAt(middle, arena);
      const uint32_t found = tokenOf(middle, row);
      if (found == token) return row;
      if (found < token) low = middle + 1;
      else high = middle;
    }
    return nullptr;
  }
};

// Walks a run's units in ascending order.
class UnitCursor {
 public:
  UnitCursor() = default;
  UnitCursor(const Run& run, const uint8_t* arena)
      : seg_(run.table + run.words[kRunFirstSeg]), arena_(arena), unitBytes_(run.unitBytes()) {}

  // Bytes of a unit; `unit` never decreases from call to call.
  const uint8_t* at(uint32_t unit) {
    while (unit >= (uint32_t)(seg_[kSegFirstUnit] + seg_[kSegUnits])) seg_ += kSegWords;
    return arena_ + (size_t)(uint32_t)seg_[kSegAt] * 128 + (size_t)(unit - seg_[kSegFirstUnit]) * unitBytes_;
  }

 private:
  const int32_t* seg_ = nullptr;
  const uint8_t* arena_ = nullptr;
  size_t unitBytes_ = 0;
};

}  // namespace WEFT_ISA
}  // namespace weft
