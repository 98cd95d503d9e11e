// Brings matrices of checkpoint files into the layouts that ops read. Values are converted exactly or not at all;
// to int8 they are rounded.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "buffer.h"
#include "thread_pool.h"

namespace weft {

// Rows of a matrix in a file: [rows][cols] values of `dtype` from byte `offset` on. name: the tensor's, for errors. pad: rows of zeros
// behind them, so that the next source begins with a panel of its own.
struct TensorSource {
  std::string path, name;
  uint64_t offset;
  uint32_t dtype;
  uint64_t rows, cols, pad = 0;
  bool transposed = false;  // the file has [cols][rows]
};

// Changes with the bytes that any layout gives for any matrix: packed forms are kept on disk. A test holds it against them.
constexpr uint32_t kPackLayoutVersion = 2;

enum class PackLayout {
  kPanels,   // [ceil(n/32)][k][32] over the rows of all sources, bf16 [ceil(n/32)][ceil(k/2)][32][2]; what is beyond n and k
             // is zero; int8 as DType says, bf12 as bf12.h (op `linear`)
  kRows,     // [n][k]; not int8, not bf12
};

// Bytes of the packed form. Throws option_invalid for rows of int8, and when sources differ in width, are empty or too large.
uint64_t packedBytes(const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout);

// Packs into `out`, which has packedBytes bytes and is zero. Throws, naming the source: checkpoint_not_finite for a NaN
// or infinity, checkpoint_tensor_dtype for a value that `target` cannot hold, io_error, checkpoint_file_missing. False where
// `target` is bf12 and a panel has more exceptions than there is room for (bf12.h); `out` is of no use then.
bool pack(ThreadPool& pool, const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout, uint8_t* out);

}  // namespace weft
