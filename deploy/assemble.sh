#!/bin/sh
# What services need when they run, out of a built checkout: assemble.sh TO. Sources, tools and tests stay behind.
set -eu
to=$1
mkdir -p "$to"
cp package.json LICENSE NOTICE THIRD_PARTY_NOTICES.md "$to"
for workspace in libs/* apps/*; do
  [ -d "$workspace/dist" ] || continue
  mkdir -p "$to/$workspace"
  cp -R "$workspace/package.json" "$workspace/dist" "$to/$workspace"
done
mkdir -p "$to/libs/kernels/build"
cp libs/kernels/build/weft_kernels.node "$to/libs/kernels/build"
cp -R demo "$to"
