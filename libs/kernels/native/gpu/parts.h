// What is measured, part by part.
#pragma once
#include "cuda/cuda_device.h"
#include "gpu/report.h"
#include "gpu/sizes.h"

namespace weft {
namespace gpu {

struct Bench {
  cuda::CudaOptions device;
  Sizes sizes;
  Facts facts;                           // of parts before: copyGBs, gemmTflops
  double fact(const char* name) const {
    const auto found = facts.find(name);
    return found == facts.end() ? 0 : found->second;
  }
};

void benchCeilings(const Bench& bench, Sink& sink);    // copies in the device and over the bus, the largest linear maps
void benchMaps(const Bench& bench, Sink& sink);        // the linear maps of a layer and the head, by rows
void benchDecode(const Bench& bench, Sink& sink);      // steps of one row a sequence
void benchPrefill(const Bench& bench, Sink& sink);     // prompts in chunks
void benchAttention(const Bench& bench, Sink& sink);   // attention alone, far back
void benchCopies(const Bench& bench, Sink& sink);      // pages from the host, alone and beside steps
void benchLaunches(const Bench& bench, Sink& sink);    // what an op costs that does next to nothing
void benchOps(const Bench& bench, Sink& sink);         // one step, op by op

}  // namespace gpu
}  // namespace weft
