// Counts what is taken from the heap, so that a test can hold that steps in steady state take nothing.
#pragma once
#include <atomic>
#include <cstdint>

namespace weft {

// Of the whole process: scratch that grows; in the addon also every `new` of its own code (addon/allocations.cpp).
inline std::atomic<uint64_t> allocations{0};

inline void countAllocation() { allocations.fetch_add(1, std::memory_order_relaxed); }

}  // namespace weft
