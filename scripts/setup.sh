#!/usr/bin/env bash
# Checks what a build needs and installs what it can; says nothing when nothing is missing.
# Arguments: components of rustup that are needed as well (rustfmt, clippy).
set -euo pipefail

rust_needed=1.94

fail() {
    echo "setup: $*" >&2
    exit 1
}

# True if the compiler takes C++20, which RocksDB is written in.
has_compiler() {
    command -v cc >/dev/null && command -v "${CXX:-c++}" >/dev/null &&
        echo '#include <concepts>' | "${CXX:-c++}" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null
}

# True if bindgen will find libclang and its headers, in the folders that it searches itself.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    if [ "$(uname -s)" = Darwin ]; then
        xcode-select -p >/dev/null 2>&1
        return
    fi
    local folder library='' header=''
    for folder in '/usr/lib*' '/usr/lib*/*' '/usr/lib*/*/*' /usr/local/lib '/usr/local/*/lib'; do
        compgen -G "$folder/libclang[.-][0-9s]*" >/dev/null && library=yes
        compgen -G "$folder/clang/*/include/stddef.h" >/dev/null && header=yes
    done
    [ -n "$library" ] && [ -n "$header" ]
}

install_packages() {
    local missing="$*" root=()
    command -v apt-get >/dev/null ||
        fail "a C++20 compiler or libclang is missing (on Debian: apt-get install $missing)"
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || fail "run this, then make again: sudo apt-get install $missing"
        root=(sudo -n)
    fi
    echo "setup: installing $missing with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    "${root[@]}" apt-get update -q </dev/null >/dev/null ||
        echo "setup: apt-get update failed; trying with the lists at hand" >&2
    # shellcheck disable=SC2086  # a list of package names
    "${root[@]}" apt-get install -y -q --no-install-recommends $missing </dev/null >/dev/null ||
        fail "apt-get could not install $missing; install them and run make again"
}

check_rust() {
    command -v cargo >/dev/null ||
        fail "cargo is missing: install Rust $rust_needed or later from https://rustup.rs"
    local found
    found=$(rustc --version | awk '{ print $2 }')
    [ "$(printf '%s\n' "$rust_needed" "$found" | sort -V | head -n 1)" = "$rust_needed" ] ||
        fail "Rust $found is too old: Rust $rust_needed or later is needed (rustup update)"
}

# Installs a component such as clippy where cargo has no such command.
check_component() {
    local command=${1/#rustfmt/fmt}
    cargo "$command" --version >/dev/null 2>&1 && return 0
    command -v rustup >/dev/null ||
        fail "cargo $command is missing: install the component $1 of Rust"
    echo "setup: adding the component $1 with rustup"
    rustup component add "$1" </dev/null
}

check_rust
missing=()
has_compiler || missing+=(g++ libc6-dev)
has_libclang || missing+=(libclang-dev)
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
for component in "$@"; do
    check_component "$component"
done
if ! compgen -G "${CARGO_TARGET_DIR:-target}/debug/deps/libdatafusion-*.rlib" >/dev/null; then
    echo "setup: the first build compiles RocksDB, candle and DataFusion: 20 minutes on two cores"
fi
