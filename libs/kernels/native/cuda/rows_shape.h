// Blocks of the ops on rows, for kernels and launches.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

constexpr uint32_t kResolveRows = 256;                   // rows that a run of resolve takes: a thread each
constexpr uint32_t kHeadWarps = 4;                       // heads of a block
constexpr uint32_t kSliceThreads = 256;                  // of a slice of a row or a page: 4 values or 16 bytes each
constexpr uint32_t kMaxGridY = 65535;

}  // namespace cuda
}  // namespace weft
