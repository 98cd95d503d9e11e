// Random contents of memory, for measurements: what a host would have to make and to send.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

constexpr uint32_t kFillThreads = 256;

struct FillArgs {
  uint8_t* to;           // 16-byte aligned
  uint64_t quads;        // of 16 bytes
  uint32_t dtype;        // f32, bf16 or f16
  float scale;           // values are spread evenly over [-scale, scale)
  uint64_t seed;
};

}  // namespace cuda
}  // namespace weft
