#!/bin/sh
# Builds the fuzz targets as cargo-fuzz would, without needing cargo-fuzz: coverage for libFuzzer,
# AddressSanitizer, debug assertions. Prints the directory of the programs. Arguments go to cargo.
#
# Exit code 77: there is no compiler that can (neither a nightly nor a stable with RUSTC_BOOTSTRAP).
set -eu
cd "$(dirname "$0")"

host=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module"
flags="$flags -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
flags="$flags --cfg fuzzing -Ccodegen-units=1 -Zsanitizer=address"

if cargo +nightly --version >/dev/null 2>&1; then
    toolchain=+nightly
else
    toolchain=
    export RUSTC_BOOTSTRAP=1
    if ! rustc -Zhelp >/dev/null 2>&1; then
        echo "fuzz: needs a nightly toolchain, or a stable one that honours RUSTC_BOOTSTRAP" >&2
        exit 77
    fi
fi

# shellcheck disable=SC2086 # $toolchain is one word or none
RUSTFLAGS="$flags" cargo $toolchain build --quiet --release --target "$host" "$@" >&2
echo "${CARGO_TARGET_DIR:-$PWD/target}/$host/release"
