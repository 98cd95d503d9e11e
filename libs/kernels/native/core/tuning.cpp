#include "tuning.h"

#include "error.h"

namespace weft {

Tuning defaultTuning(Isa isa) {
  Tuning tuning;
  switch (isa) {
    case Isa::kPortable: tuning.flopsPerNs = 12; break;
    case Isa::kNeon: case Isa::kNeonDot: case Isa::kNeonBf16: tuning.flopsPerNs = 40; break;
    case Isa::kAvx2: tuning.flopsPerNs = 60; break;
    default: tuning.flopsPerNs = 100;
  }
  if (isa == Isa::kPortable || isa == Isa::kAvx2) tuning.rowBytes = 300'000;   // processors of half the L2
  return tuning;
}

void setTuning(Tuning& tuning, const std::string& name, double value) {
  std::string known;
  for (const TuningField& field : kTuningFields) {
    if (name == field.name) {
      if (!(value >= field.min && value <= field.max) || value != static_cast<uint32_t>(value)) {
        throw Error("option_invalid", format("tuning %s is %g: an integer between %u and %u is needed.", field.name, value, field.min, field.max));
      }
      tuning.*field.value = static_cast<uint32_t>(value);
      return;
    }
    known += std::string(known.empty() ? "" : ", ") + field.name;
  }
  throw Error("option_invalid", format("tuning %.40s: there is no such field; there are ", name.c_str()) + known + ".");
}

}  // namespace weft
