// What a kernel reported, in words.
#pragma once
#include <string>

#include "cuda/step.h"

namespace weft {
namespace cuda {

// "a page at 3 is 70000, not below 512"
std::string describe(const Fault& fault);

}  // namespace cuda
}  // namespace weft
