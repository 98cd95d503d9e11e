// How ops become kernel launches. The grid of an op follows from its capacities alone, so that a list becomes one CUDA
// graph; what runs of it is counted on the device.
#pragma once
#include <cstdint>
#include <vector>

namespace weft {
namespace cuda {

struct Dim3 { uint32_t x = 1, y = 1, z = 1; };

// One launch: a kernel by its name in the module.
struct Launch {
  const char* kernel;
  Dim3 grid;
  uint32_t threads;              // of a block
  uint32_t sharedBytes = 0;      // dynamic
};

// What launches depend on besides the op.
struct LaunchLimits {
  uint32_t multiprocessors = 1;
  uint32_t sharedBytes = 48 << 10;   // that a block may have
  bool deterministic = false;        // rows have the same bits in every batch
};

struct Launches {
  std::vector<Launch> steps;     // one after another
  uint64_t scratchBytes = 0;
  bool dense = false;            // a linear map that a vendor's library may run instead (cublaslt.h)
};

// The launches of an op. args: its Args struct as Program::resolve leaves it for a device (counts as header words).
// Throws device_error where the op asks for what no launch can have.
Launches launchesOf(uint32_t code, const void* args, const LaunchLimits& limits);

}  // namespace cuda
}  // namespace weft
