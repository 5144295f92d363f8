#!/usr/bin/env bash
# Tests and measures training on an NVIDIA card: the decoder against the CPU, then an AdamW step of
# SmolLM2-135M's shape over 8 x 2,048 tokens, then the same in PyTorch if it is installed there.
#
#   scripts/bench-cuda.sh                    builds the tests with CUDA (scripts/cuda.sh) and runs
#   scripts/bench-cuda.sh --pack FILE        builds them, and packs a binary for another machine
#   scripts/bench-cuda.sh FILE               runs a packed binary; from the root of the repository
#
# A machine with a card and nothing to fetch from: copy the repository and FILE there (about 10 MB)
# and run the third form. It needs the driver and the libraries of CUDA 13 (cuBLAS, cuRAND, NVRTC),
# which are looked for in CUDA_HOME, /usr/local/cuda and beside Python's torch.
set -euo pipefail
cd "$(dirname "$0")/.."

say() {
    echo "bench-cuda: $*" >&2
}

# Prints the path of the test binary after building it.
build() {
    bash scripts/cuda.sh test --no-run --message-format=json |
        sed -n '/"kind":\["test"\]/s/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# Prints the folders that hold libraries of CUDA, with colons between.
libraries() {
    local python=${PYTHON:-python3} found=''
    for folder in "${CUDA_HOME:+$CUDA_HOME/lib64}" "${CUDA_HOME:+$CUDA_HOME/lib}" \
        /usr/local/cuda/lib64; do
        [ -n "$folder" ] && [ -d "$folder" ] && found=$found:$folder
    done
    found=$found:$("$python" - <<'PYTHON' 2>/dev/null || true
import glob, site, sys
roots = site.getsitepackages() + [site.getusersitepackages()]
print(":".join(f for root in roots for f in sorted(glob.glob(root + "/nvidia/*/lib"))))
PYTHON
    )
    echo "${found#:}"
}

binary=${1:-}
case $binary in
--pack)
    packed=$(realpath "${2:?a file to write}")
    built=$(build)
    [ -x "$built" ] || { say "the tests were not built"; exit 1; }
    strip -o "$packed.stripped" "$built"
    xz -T0 -6 -c "$packed.stripped" >"$packed"
    rm "$packed.stripped"
    say "packed $(stat -c %s "$packed") bytes"
    exit
    ;;
'')
    CUDA_HOME=$(bash scripts/cuda.sh --toolkit)
    export CUDA_HOME
    binary=$(build)
    ;;
*)
    if [ "$(head -c 6 "$binary" | od -An -tx1 | tr -d ' ')" = fd377a585a00 ]; then
        unpacked=$(mktemp)
        trap 'rm -f "$unpacked"' EXIT
        xz -dc "$binary" >"$unpacked" 2>/dev/null ||
            "${PYTHON:-python3}" -c \
                'import lzma, sys; sys.stdout.buffer.write(lzma.open(sys.argv[1]).read())' \
                "$binary" >"$unpacked"
        chmod +x "$unpacked"
        binary=$unpacked
    fi
    ;;
esac
LD_LIBRARY_PATH=$(libraries)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null ||
    say "nvidia-smi says nothing"
status=0
"$binary" lm::device::card --ignored --nocapture --test-threads=1 || status=$?
"${PYTHON:-python3}" benches/cuda_peer.py || say "PyTorch was not measured"
exit $status
