#include "cuda/launches.h"
#include "cuda/sample_shape.h"

namespace weft {
namespace cuda {

void launch(const SampleArgs& a, const LaunchLimits&, Launches& out) {
  out.steps.push_back({"sample", {a.tileRows}, kSampleThreads});
  out.scratchBytes = sampleScratchBytes(a.tileRows, a.vocab);
}

}  // namespace cuda
}  // namespace weft
