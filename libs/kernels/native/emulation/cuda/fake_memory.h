// Memory of the fake driver, for its own files.
#pragma once
#include <unistd.h>

#include "emulation/cuda/fake_driver.h"

namespace weft {
namespace cuda {
namespace fake {

constexpr uint8_t kUndefined = 0xff;
constexpr uint64_t kFilled = 64u << 20;                  // of a large piece not more is filled

enum Kind { kPlain, kMapped, kPinned };
struct Piece {
  Kind kind;
  uint64_t bytes;
  uint64_t pages, pageBytes;                             // the pages that it lies in, without guards
  bool access;
  uint64_t handle;                                       // of what is mapped
};
extern std::map<uint64_t, Piece> pieces;                 // by address
extern std::map<uint64_t, uint64_t> reserved;            // address ranges, and their bytes
extern uint64_t used;                                    // bytes of the GPU

inline uint64_t pageSize() {
  static const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}
inline uint64_t up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }
inline uint8_t* at(uint64_t address) { return reinterpret_cast<uint8_t*>(address); }

void protect(uint64_t address, uint64_t bytes, int rights);
uint64_t untouchable(uint64_t bytes);                    // new addresses
void bury(uint64_t begin, uint64_t bytes);               // gives the pages back, not their addresses
std::string leakedHandles();

}  // namespace fake
}  // namespace cuda
}  // namespace weft
