// y[t] = W x[t] + b, or y[t] += W x[t] + b: W in plain rows [n][k] of f32, bf16 or f16, x of f32 or bf16.
//
// linearFew   up to kFewRows rows; bound by memory: W is read once, whatever the number of rows.
// linearFma   f32 rows, or weights that are not bf16; bound by f32 multiply-adds: 2·rows·n·k flops.
// linearMma   bf16 rows and weights, on tensor cores; bound by them with many rows, by memory with few.
//
// Order of additions: linearFew shares k out over threads, in a way that K alone fixes. In tiles an output is one chain over
// ascending k, linearFma's k by k (the CPU's bits), linearMma's 16 k an instruction; neither the tile's size nor the rows beside
// it are part of that. Where rows must have the same bits in every batch, tiles alone run, of whichever size fits.
#pragma once
#include "cuda/kernels/linear_few.h"
#include "cuda/kernels/linear_fma.h"
#include "cuda/kernels/linear_mma.h"
