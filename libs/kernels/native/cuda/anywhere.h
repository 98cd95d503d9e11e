// Functions of shapes that kernels call as well as those who launch them.
#pragma once

#if defined(__CUDACC__)
#define WEFT_ANYWHERE __host__ __device__
#else
#define WEFT_ANYWHERE
#endif
