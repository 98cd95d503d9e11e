// What only shapes tiles, prefetches and waits: numbers that fit a machine, never results. Plain data, given when a device
// is made; `npm run bench -- tune` finds them.
#pragma once
#include <cstdint>
#include <string>

#include "cpu_features.h"

namespace weft {

struct Tuning {
  uint32_t tileNs = 40000, tileNsMin = 3000;   // estimated work of a tile: at most, at least
  uint32_t bytesPerNs = 16;                    // estimates: what one core reads from memory while others do too,
  uint32_t flopsPerNs = 60;                    // and how many multiplications and additions it makes
  uint32_t shrinkRows = 48;                    // rows of x that meet a piece of A together
  uint32_t shrinkStream = 1024;                // rank rows up to this long are prefetched one after another, longer ones side by side
  uint32_t rowBytes = 600'000;                 // activations of a tile that decodes 12-bit weights: with a block they stay in L2
  uint32_t expandAhead = 64;                   // ranks of 64 outputs that B is prefetched ahead
  uint32_t spinUs = 100;                       // who waits for others' last tiles stays awake so long: two tiles,
  uint32_t lingerUs = 200;                     // and who waits for the next op or list
};

struct TuningField {
  const char* name;
  uint32_t Tuning::*value;
  uint32_t min, max;
  bool tunable;                                // by timing ops; the others are a matter of what else the machine does
};

inline constexpr TuningField kTuningFields[] = {
    {"tileNs", &Tuning::tileNs, 1000, 10'000'000, true},
    {"tileNsMin", &Tuning::tileNsMin, 100, 10'000'000, true},
    {"bytesPerNs", &Tuning::bytesPerNs, 1, 1000, true},
    {"flopsPerNs", &Tuning::flopsPerNs, 1, 10'000, true},
    {"shrinkRows", &Tuning::shrinkRows, 1, 4096, true},
    {"shrinkStream", &Tuning::shrinkStream, 0, 65536, true},
    {"rowBytes", &Tuning::rowBytes, 1000, 100'000'000, true},
    {"expandAhead", &Tuning::expandAhead, 0, 1024, true},
    {"spinUs", &Tuning::spinUs, 0, 10'000, false},
    {"lingerUs", &Tuning::lingerUs, 0, 100'000, false},
};

// Sane numbers for an instruction set.
Tuning defaultTuning(Isa isa);
// Throws option_invalid, naming the field and its limits.
void setTuning(Tuning& tuning, const std::string& name, double value);

inline constexpr Tuning kTuning;

// The tuning of the pool that this thread works for: one of its own, or the one that runs a list on it.
inline thread_local const Tuning* threadTuning = &kTuning;

}  // namespace weft
