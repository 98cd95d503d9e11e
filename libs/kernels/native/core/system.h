// What each operating system does in its own way: system_linux.cpp, system_darwin.cpp. Everything else is POSIX.
#pragma once
#include <cstdint>

namespace weft {

// Processors that this process may use at once: what its affinity mask and the limits of its container leave. At least 1.
uint32_t usableProcessors();

// Asks for huge pages behind a mapping that begins at a multiple of their size. Advice: without them, small ones serve.
void adviseHugePages(void* place, uint64_t bytes);

// What an arm64 processor has beside NEON; on others, nothing.
struct ArmFeatures { bool dotProducts = false, bf16 = false; };
ArmFeatures armFeatures();

// Whether threads of this process, those to come too, may use AMX's tile registers. Asks for the permission.
bool mayUseAmxTiles();

}  // namespace weft
