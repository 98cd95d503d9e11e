// How an op is described to the generic checks: the C++ side of src/op.ts. The table itself is generated (ops.gen.h).
#pragma once
#include <cstddef>
#include <cstdint>

namespace weft {

enum class OperandKind : uint8_t { kRows, kPacked, kArena, kTable };
enum class Elem : uint8_t { kF32, kI32, kByte };
enum class Access : uint8_t { kIn, kOut, kInOut, kScratch };
enum class ParamKind : uint8_t { kU32, kF32, kCount };

constexpr int16_t kNoParam = -1;

// A dimension: the index of the param that tells it, or a constant.
struct DimInfo {
  int16_t param;
  uint32_t constant;
};

struct OperandInfo {
  const char* name;
  OperandKind kind;
  Elem elem;
  Access access;
  bool optional;
  DimInfo rows, cols, ld;
  int16_t dtype, layout;  // params that hold them, or kNoParam
};

// A count is recorded as the index of a header word of the frame; capacity and from are indices of params.
struct ParamInfo {
  const char* name;
  ParamKind kind;
  int16_t capacity, from;
};

struct OpInfo {
  const char* name;  // nullptr: no op has this code
  uint32_t operandCount, paramCount, argsBytes;
  const OperandInfo* operands;
  const ParamInfo* params;
};

}  // namespace weft
