#!/usr/bin/env bash
# The Node path on a GPU: every op test and every fixture model through the addon, with cuda:0 as the device. Takes a Node (NODE), the
# packages (node_modules), the compiled TypeScript (libs/*/dist) and the addon (libs/kernels/build/weft_kernels.node), carried from where they were built.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
NODE=${NODE:-./node}; MODULE=${MODULE:-libs/kernels/build-gpu/weft-cuda.fatbin}
for needed in "$NODE" node_modules/vitest/vitest.mjs libs/kernels/build/weft_kernels.node "$MODULE"; do
  [ -e "$needed" ] || { echo "node-part: there is no $needed"; exit 1; }
done
tests=$(ls test/unit/kernels/ops/*.test.ts | grep -v bf12)       # bf12 is a format of the CPU device
WEFT_TEST_CUDA_DRIVER=${DRIVER:-libcuda.so.1} WEFT_TEST_CUDA_MODULE=$(realpath "$MODULE") \
  "$NODE" node_modules/vitest/vitest.mjs run --project unit --testNamePattern='\bcuda\b' $tests test/unit/models/parity.test.ts
