#!/usr/bin/env bash
# Builds with CUDA on a machine that may have neither toolkit nor driver.
#
#   scripts/cuda.sh                  fetches the toolkit and builds the program with CUDA
#   scripts/cuda.sh test --no-run    does so with other words for cargo
#   scripts/cuda.sh --toolkit        fetches the toolkit and prints its folder
#
# The toolkit (nvcc, NVRTC, cuBLAS, cuRAND; 3 GB on disk) comes from PyPI into the cache, once; a
# CUDA_HOME that is set is taken as it is. libcuda belongs to the driver: where there is none, the
# linker gets a stub whose functions all say that there is no device. A program that was linked so
# finds the real one on a machine with a driver; without one it starts with the stub's folder
# (toolkit/lib/stubs) in LD_LIBRARY_PATH and says that there is no device.
# CUDA_COMPUTE_CAP is the card built for: 90 for Hopper, which is taken where no card is found.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/swirldb
toolkit=$cache/cuda-13.0
packages=(
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
    nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35
)

say() {
    echo "cuda: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

fetch() {
    [ "$(uname -sm)" = "Linux x86_64" ] ||
        fail "the toolkit is fetched for Linux on x86_64 only: set CUDA_HOME to one of this machine"
    local python=${PYTHON:-python3} unfinished=$toolkit.unfinished
    "$python" -m pip --version >/dev/null 2>&1 ||
        fail "pip is missing, which fetches the toolkit: install it, or set CUDA_HOME to a toolkit"
    say "fetching the toolkit (700 MB) from PyPI into $toolkit, once"
    rm -rf "$unfinished"
    "$python" -m pip install --quiet --no-deps --disable-pip-version-check \
        --root-user-action=ignore --target "$unfinished" "${packages[@]}" ||
        fail "pip could not fetch the toolkit"
    local home=$unfinished/nvidia/cu13
    [ -x "$home/bin/nvcc" ] || chmod +x "$home"/bin/* "$home"/nvvm/bin/*
    ln -s lib "$home/lib64"
    local library
    for library in "$home"/lib/lib*.so.*; do
        library=$(basename "$library")
        [ -e "$home/lib/${library%%.so.*}.so" ] || ln -s "$library" "$home/lib/${library%%.so.*}.so"
    done
    mkdir -p "$home/lib/stubs"
    # Every name of the driver's header as a function that returns CUDA_ERROR_NO_DEVICE.
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$home/include/cuda.h" | sort -u |
        sed 's/.*/int &(void) { return 100; }/' |
        cc -w -shared -fPIC -Wl,-soname,libcuda.so.1 -x c - -o "$home/lib/stubs/libcuda.so"
    ln -s libcuda.so "$home/lib/stubs/libcuda.so.1"
    mv "$unfinished" "$toolkit"
}

if [ -z "${CUDA_HOME:-}" ]; then
    [ -d "$toolkit" ] || fetch
    CUDA_HOME=$toolkit/nvidia/cu13
fi
[ -x "$CUDA_HOME/bin/nvcc" ] || fail "there is no bin/nvcc in CUDA_HOME ($CUDA_HOME)"
if [ "${1:-}" = --toolkit ]; then
    echo "$CUDA_HOME"
    exit
fi
if [ -z "${CUDA_COMPUTE_CAP:-}" ]; then
    CUDA_COMPUTE_CAP=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
        head -n 1 | tr -d .) || true
    if [ -z "$CUDA_COMPUTE_CAP" ]; then
        CUDA_COMPUTE_CAP=90
        say "no card found: building for compute capability 9.0 (Hopper); CUDA_COMPUTE_CAP sets it"
    fi
fi
export CUDA_HOME CUDA_COMPUTE_CAP PATH="$CUDA_HOME/bin:$PATH"
# What the linker searches, and where the program looks for cuBLAS, NVRTC and cuRAND when it runs.
# By the environment and not by RUSTFLAGS, which would build every dependency again.
libraries=$CUDA_HOME/lib64:$CUDA_HOME/lib
export LIBRARY_PATH="$libraries:$CUDA_HOME/lib/stubs:$CUDA_HOME/lib64/stubs:${LIBRARY_PATH:-}"
export LD_RUN_PATH=$libraries
[ $# -gt 0 ] || set -- build
command=$1
shift
say "cargo $command --features cuda with $CUDA_HOME, compute capability $CUDA_COMPUTE_CAP"
exec "${CARGO:-cargo}" "$command" --locked --features cuda "$@"
