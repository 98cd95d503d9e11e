#!/usr/bin/env bash
# Builds and checks the CUDA device on a machine that has nothing but a GPU, g++, nvcc and this repository, and times it.
#
#   test/gpu/run.sh [PART…]       build replay bench torch node sanitize; all of them, in this order, by default
#
# Every part has a time limit and fails alone. In OUT (./gpu-results): log.txt with all output, summary.txt, gpu-bench.json,
# gpu-bench.md, torch.jsonl. Exits with 1 when a part failed.
#
#   OUT                where results go
#   WEFT_GPU_SECONDS   for all parts together; 540 by default
#   LIMITS             seconds of each part: "build 200 replay 100 …"
#   WEFT_GPU_CAPABILITY  90 for an H100, where no GPU tells it. What `build` made elsewhere, in libs/kernels/build-gpu, is taken
#                      as it is if the sources are the same
#   WEFT_GPU_MODULE    kernels that were built elsewhere: no nvcc is needed
#   WEFT_GPU_DRIVER    a driver to use instead of libcuda.so.1. With libcuda-fake.so kernels run on the host, on small models
#   WEFT_REPLAY        with WEFT_GPU_BENCH: programs that were built elsewhere: no g++ is needed
#   RECORDINGS         a folder with .weft files, or recordings.tar.xz; test/gpu/recordings by default
#   NVCC, CXX, JOBS, NODE
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
OUT=$(realpath -m "${OUT:-gpu-results}"); DRIVER=${WEFT_GPU_DRIVER:-}; JOBS=${JOBS:-$(nproc)}; CXX=${CXX:-g++}
NATIVE=libs/kernels/native; BUILD=libs/kernels/build-gpu; RECORDINGS=${RECORDINGS:-test/gpu/recordings}; BEGIN=$SECONDS
ALL=${WEFT_GPU_SECONDS:-540}; LIMITS=${LIMITS:-"build 200 replay 100 bench 300 torch 60 node 150 sanitize 150"}
case $DRIVER in *fake*) FAKE=1 ;; *) FAKE= ;; esac
NVCC=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
NODE=${NODE:-$([ -x ./node ] && echo ./node || command -v node || true)}
REPLAY=${WEFT_REPLAY:-$BUILD/weft-replay}; BENCH=${WEFT_GPU_BENCH:-$BUILD/weft-gpu-bench}
MODULE=${WEFT_GPU_MODULE:-$BUILD/weft-cuda.fatbin}
mkdir -p "$OUT" "$BUILD/obj"
: >"$OUT/log.txt"
export OUT DRIVER JOBS CXX NATIVE BUILD RECORDINGS FAKE NVCC NODE REPLAY BENCH MODULE
# cuBLASLt as Python's packages have it, where the loader does not look.
PACKAGES=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null)
CUBLASLT=$(ls -d /usr/local/cuda/lib64 "$PACKAGES"/nvidia/cu*/lib 2>/dev/null |
  while read -r folder; do ls "$folder"/libcublasLt.so.1[23] >/dev/null 2>&1 && echo "$folder"; done | tail -1)
[ -n "$CUBLASLT" ] && export LD_LIBRARY_PATH="$CUBLASLT${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

say() { echo "$*" | tee -a "$OUT/log.txt"; }

environment() {
  say "== machine"
  local asked=name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,power.limit,compute_cap
  [ "$FAKE" ] || say "$(nvidia-smi --query-gpu=$asked --format=csv,noheader 2>/dev/null || echo 'no GPU that nvidia-smi knows')"
  say "$("$NVCC" --version 2>/dev/null | grep release || echo 'no nvcc') · $($CXX --version 2>/dev/null | head -1)"
  say "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) processors · $(uname -r)"
  say "torch $(python3 -c 'import torch; print(torch.__version__, torch.cuda.is_available())' 2>/dev/null || echo 'is not there')"
  say "cuBLASLt: ${CUBLASLT:-where the loader finds it, if at all} · node: ${NODE:-none}"
}

# The flags of scripts/lib/native.mjs that a file's instruction set needs.
variant() {
  local avx2="-mavx2 -mfma -mf16c" avx512="-mavx512f -mavx512bw -mavx512vl -mavx512dq -Wno-uninitialized -Wno-maybe-uninitialized"
  case $1 in
    *_avx2.cpp) echo "$avx2" ;;
    *_avx512.cpp) echo "$avx512 $avx2" ;;
    *_avx512bf16.cpp) echo "$avx512 $avx2 -mavx512bf16 -mavx512vnni" ;;
    *_amx.cpp) echo "$avx512 $avx2 -mamx-tile -mamx-bf16" ;;
  esac
}

# Compiles a file, unless its object is from these sources. $1: stamp of the folders that it includes from.
compile() {
  local object=$BUILD/obj/$(basename "$(dirname "$2")")-$(basename "$2" .cpp)-$1.o
  [ -e "$object" ] && return
  local flags="-std=c++17 -O2 -fPIC -pthread -fno-math-errno -ffp-contract=off -I$NATIVE -I$NATIVE/core"
  # shellcheck disable=SC2046,SC2086
  $CXX $flags $(variant "$2") -c "$2" -o "$object.tmp" && mv "$object.tmp" "$object"
}

stamp() { (cd $NATIVE && find "$@" -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-12); }

# All of Weft's own code, as fast as there are processors: the longest files first.
programs() {
  local core cuda others; core=$(stamp core) cuda=$(stamp core cuda replay gpu)
  [ "$(uname -m)" = x86_64 ] && others='_neon|_darwin' || others='_avx|_amx|_darwin'
  { for file in $NATIVE/core/*.cpp; do echo "$core $file"; done | grep -v -E "$others"
    for file in $NATIVE/cuda/*.cpp $NATIVE/replay/*.cpp $NATIVE/gpu/*.cpp; do echo "$cuda $file"; done; } |
    awk '{ print ($2 ~ /kernels_/ ? 0 : 1), $0 }' | sort -s -n | cut -d' ' -f2- |
    xargs -P "$JOBS" -L 1 bash -c 'compile "$0" "$1" || exit 255' || return 1
  $CXX -pthread -o "$BUILD/weft-replay" $BUILD/obj/core-*-$core.o $BUILD/obj/{cuda,replay}-*-$cuda.o -ldl &&
    $CXX -pthread -o "$BUILD/weft-gpu-bench" $BUILD/obj/core-*-$core.o $BUILD/obj/{cuda,gpu}-*-$cuda.o -ldl
}

# Code for this machine's GPU alone, and PTX; flags as in scripts/lib/cuda.mjs.
module() {
  [ "$FAKE" ] && { echo fake >"$BUILD/weft-cuda.fatbin"; return; }
  local capability; capability=${WEFT_GPU_CAPABILITY:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d '. ')}
  [ "$capability" = 90 ] && capability=90a
  local name; name=$BUILD/weft-cuda-$capability-$(stamp core/ops.gen.h core/op_info.h cuda).fatbin
  if [ ! -e "$name" ]; then
    "$NVCC" -std=c++17 -O3 -fatbin -I $NATIVE -Xcompiler -Wall,-Wextra --threads 2 -gencode "arch=compute_$capability,code=sm_$capability" \
      -gencode arch=compute_80,code=compute_80 -o "$name.tmp" $NATIVE/cuda/kernels.cu && mv "$name.tmp" "$name" || return 1
  fi
  cp "$name" "$BUILD/weft-cuda.fatbin"
}

part_build() {
  local failed=0 programs= module=
  [ "${WEFT_REPLAY:-}" ] || { programs & programs=$!; }
  [ "${WEFT_GPU_MODULE:-}" ] || { module & module=$!; }
  [ "$programs" ] && { wait "$programs" || { echo "the programs were not built"; failed=1; }; }
  [ "$module" ] && { wait "$module" || { echo "the kernels were not built"; failed=1; }; }
  ls -l "$REPLAY" "$BENCH" "$MODULE" || failed=1
  return $failed
}

# Prints the recordings; of emulated kernels' those that are short. The archive is unpacked once.
recordings() {
  all_recordings | if [ "$FAKE" ]; then grep -v -e /chain -e '/[^/]*-[^/]*$'; else cat; fi
}
all_recordings() {
  local archive
  for archive in "$RECORDINGS/recordings.tar.xz" test/gpu/recordings.tar.xz; do
    [ -e "$archive" ] || continue
    local folder; folder=$BUILD/recordings-$(sha256sum <"$archive" | cut -c1-12)
    [ -d "$folder" ] || { mkdir -p "$folder.tmp" && tar -xJf "$archive" -C "$folder.tmp" && mv "$folder.tmp" "$folder"; } || return 1
    find "$folder" -name '*.weft' | LC_ALL=C sort
    return
  done
  find "$RECORDINGS" -name '*.weft' 2>/dev/null | LC_ALL=C sort
}

replay_one() {
  local text; text=$(timeout --foreground -k 2 20 "$REPLAY" "$@" 2>&1) || text+=$(printf '\n%s: exit code %s' "$1" $?)
  printf '%s\n' "$text"
}

# Replays all recordings at once. What broke off before it came to an end (a lost device takes all that follow with it) runs
# once more, each recording by itself.
replay() {
  local name=$1 log; shift
  log=$OUT/.replay
  mapfile -t files < <(recordings)
  [ ${#files[@]} -gt 0 ] || { echo "there are no recordings"; return 1; }
  timeout --foreground -k 2 60 "$REPLAY" "${files[@]}" "$@" >"$log" 2>&1
  local rc=$?
  cat "$log" >>"$OUT/log.txt"
  if [ $rc -ne 0 ]; then
    local again=()
    for file in "${files[@]}"; do grep -q "^$file: ok" "$log" || again+=("$file"); done
    printf '%s\0' "${again[@]}" | xargs -0 -P 8 -I{} bash -c 'replay_one "$@"' replay {} "$@" >"$log.again" 2>/dev/null
    cat "$log.again" >>"$OUT/log.txt"
    rc=0
    for file in "${again[@]}"; do
      grep -q "^$file: ok" "$log.again" && continue
      rc=1
      awk -v begin="$file: " 'index($0, begin) == 1 && !/µs,/ { print; of = 1; next } of && /^  / { print } { of = 0 }' "$log.again"
    done
    cat "$log.again" >>"$log"
  fi
  echo "$name: $(grep -c ': ok ' "$log") of ${#files[@]} recordings are as they were recorded"
  grep ': ok ' "$log" | awk '/ 100.0000 % bit-identical/ { same++ } { n++ } END { printf "  %d of these %d bit for bit\n", same, n }'
  rm -f "$log" "$log.again"
  return $rc
}

device() { echo --device cuda:0 --module "$MODULE" ${DRIVER:+--driver "$DRIVER"}; }

part_replay() {
  local failed=0
  # shellcheck disable=SC2046
  { replay "cuda:0" $(device) || failed=1
    [ "$FAKE" ] || replay "cuda:0, own kernels" $(device) --own-gemm || failed=1
    replay "cuda:0, deterministic" $(device) --deterministic || failed=1
    replay "cpu" --device cpu || failed=1; }
  return $failed
}

part_bench() {
  local options=(--module "$MODULE" ${DRIVER:+--driver "$DRIVER"}) failed=0
  [ "$FAKE" ] && options+=(--tiny)
  "$BENCH" "${options[@]}" --out "$OUT" --seconds "${BENCH_SECONDS:-210}" || failed=1
  for option in --own-gemm --deterministic; do
    echo "with $option:"
    "$BENCH" "${options[@]}" --out "$BUILD" --seconds 35 --quick $option --parts ceilings,decode,prefill || failed=1
  done
  return $failed
}

part_torch() {
  python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null || { echo "skipped: no torch with CUDA"; return 0; }
  python3 test/gpu/torch_peer.py --out "$OUT/torch.jsonl"
}

# The whole engine on this GPU, where a Node binary came along: that is node-part.sh's to do. It gets NODE, MODULE, OUT.
part_node() {
  [ -f test/gpu/node-part.sh ] || { echo "skipped: no test/gpu/node-part.sh"; return 0; }
  [ "$NODE" ] || { echo "skipped: no node (./node, or NODE)"; return 0; }
  bash test/gpu/node-part.sh
}

# Every op alone under compute-sanitizer: accesses out of bounds, then races in shared memory.
part_sanitize() {
  local tool=${SANITIZER:-$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)} failed=0
  [ "$FAKE" ] && { echo "skipped: no GPU"; return 0; }
  [ -x "$tool" ] || { echo "skipped: no compute-sanitizer"; return 0; }
  mapfile -t files < <(recordings | grep -v -e chain -e '/[^/]*-[^/]*$')
  for kind in memcheck racecheck; do
    echo "$kind of ${#files[@]} recordings"
    # shellcheck disable=SC2046
    timeout --foreground -k 5 70 "$tool" --tool $kind --error-exitcode 9 "$REPLAY" "${files[@]}" $(device) 2>&1 |
      grep -v -e 'µs,' -e ': ok ' | tail -80
    local rc=${PIPESTATUS[0]}
    [ "$rc" -eq 0 ] || { echo "$kind: exit code $rc"; failed=1; }
  done
  return $failed
}

export -f compile variant stamp programs module all_recordings recordings replay_one replay device
export -f part_build part_replay part_bench part_torch part_node part_sanitize

summary=() failed=0
part() {
  local name=$1 limit=$2 left=$((ALL - (SECONDS - BEGIN))) begin=$SECONDS
  say "== $name"
  if [ $left -lt 5 ]; then
    summary+=("$(printf '%-10s no time left' "$name")"); failed=1
    return
  fi
  [ $limit -gt $left ] && limit=$left
  local text=$OUT/.part
  BENCH_SECONDS=$((limit > 100 ? limit - 80 : limit)) timeout -k 5 "$limit" bash -c "part_$name" 2>&1 | tee -a "$OUT/log.txt" "$text"
  local rc=${PIPESTATUS[0]} result=ok
  [ "$rc" -eq 0 ] && result=$(grep -m1 -o '^skipped.*' "$text" || echo ok)
  [ "$rc" -eq 0 ] || { result="FAILED ($([ "$rc" -eq 124 ] && echo "not ready after $limit s" || echo "exit code $rc"))"; failed=1; }
  rm -f "$text"
  summary+=("$(printf '%-10s %4d s  %s' "$name" $((SECONDS - begin)) "$result")")
}

environment
for name in ${*:-build replay bench torch node sanitize}; do
  limit=$(echo "$LIMITS" | grep -o "\b$name [0-9]*" | cut -d' ' -f2)
  [ "$limit" ] || { echo "there is no part $name, or it has no limit"; exit 2; }
  part "$name" "$limit"
done
say "== summary"
printf '%s\n' "${summary[@]}" "all $((SECONDS - BEGIN)) s" | tee "$OUT/summary.txt" | tee -a "$OUT/log.txt"
exit $failed
