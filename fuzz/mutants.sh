#!/bin/sh
# Takes real bound checks out of a copy of the code, one at a time, and expects the fuzz target
# named by the patch (mutants/TARGET-*.patch) to find each hole within 60 seconds.
# `fuzz/mutants.sh [PATCH...]`; a target that misses one makes the script fail.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
[ $# -gt 0 ] || set -- "$here"/mutants/*.patch

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="$here/target/mutants"
missed=0

for patch in "$@"; do
    name=$(basename "$patch" .patch)
    target=${name%%-*}
    rm -rf "$work/tree"
    mkdir -p "$work/tree/fuzz" "$work/$name/corpus"
    cp -r "$root/Cargo.toml" "$root/Cargo.lock" "$root/kirsh-core" "$work/tree/"
    # The workspace's other members are not needed for the one that is fuzzed.
    sed -i 's/^members = .*/members = ["kirsh-core"]/' "$work/tree/Cargo.toml"
    cp -r "$here/Cargo.toml" "$here/Cargo.lock" "$here/build.sh" "$here/fuzz_targets" \
        "$work/tree/fuzz/"
    patch --quiet --directory "$work/tree" --strip 1 <"$patch"
    programs=$("$work/tree/fuzz/build.sh" --bin "$target")
    begin=$(date +%s)
    if "$programs/$target" -max_total_time=60 -max_len=8192 -rss_limit_mb=1024 -timeout=10 \
        -artifact_prefix="$work/$name/" "$work/$name/corpus" "$here/seeds/$target" \
        >"$work/$name/log" 2>&1; then
        echo "MISSED  $name: 60 s without a crash"
        missed=1
    else
        how=$(grep -m 1 -A 1 'panicked at' "$work/$name/log" | tr '\n' ' ' || true)
        echo "caught  $name after $(($(date +%s) - begin)) s: ${how:-see below}"
        [ -n "$how" ] || tail -5 "$work/$name/log"
        ls "$work/$name"/crash-* "$work/$name"/oom-* "$work/$name"/timeout-* 2>/dev/null |
            grep -q . || { echo "MISSED  $name: it failed without an input that crashes"; missed=1; }
    fi
done
exit $missed
