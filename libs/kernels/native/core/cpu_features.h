// What this processor can run.
#pragma once
#include <cstdint>
#include <string>

namespace weft {

enum class Isa { kPortable, kAvx2, kAvx512, kAvx512Bf16, kAmx, kNeon, kNeonDot, kNeonBf16 };

const char* isaName(Isa isa);
// The best one that processor and system support.
Isa bestIsa();
// Whether this machine can run it.
bool supports(Isa isa);
// Throws device_error for an unknown name or one that this machine cannot run. Empty: the best one.
Isa isaByName(const std::string& name);

bool hasSse42();

}  // namespace weft
