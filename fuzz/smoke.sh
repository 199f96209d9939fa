#!/bin/sh
# Runs each fuzz target for some seconds from its seeds: `fuzz/smoke.sh SECONDS [TARGET...]`.
# What it finds on the way stays in a temporary directory; what crashes a target stays in
# fuzz/artifacts/TARGET and makes the script fail.
set -eu

seconds=${1:?usage: smoke.sh SECONDS [TARGET...]}
shift
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- header handshake frames

programs=$("$here/build.sh")
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT

for target in "$@"; do
    mkdir -p "$here/artifacts/$target" "$corpus/$target"
    echo "fuzz $target for $seconds s"
    if ! "$programs/$target" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=1024 \
        -timeout=10 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="$here/artifacts/$target/" \
        "$corpus/$target" "$here/seeds/$target" >"$corpus/log" 2>&1; then
        tail -n 120 "$corpus/log"
        echo "fuzz $target: failed; the input is in fuzz/artifacts/$target" >&2
        exit 1
    fi
    grep -E 'number_of_executed_units|peak_rss_mb' "$corpus/log"
done
