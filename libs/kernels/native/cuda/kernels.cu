// Every kernel, as one module.
#include "cuda/kernels/attention.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/linear.h"
#include "cuda/kernels/linear_int8.h"
#include "cuda/kernels/lora.h"
#include "cuda/kernels/pages.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/sample.h"
