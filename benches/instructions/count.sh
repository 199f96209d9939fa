#!/bin/sh
# How many instructions an all-reduce of 4 bytes between two ranks takes in user space, both ranks
# and all of the library's threads together. Told, compared with the figures in expected.txt, and not
# judged: what is called is the same on every machine of one kind, what the compiler makes of it is not.
#
# Under valgrind the kernels are those of AVX2: it knows no AVX-512.
set -eu
here=$(dirname "$0")
program=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# What callgrind counts in a run of so many calls. Nobody spins, which would count as much as there is
# time for. A run that hangs is ended.
collected() {
    KIRSH_DRIVER=$1 KIRSH_SPIN_US=0 KIRSH_JOB_ID=instructions timeout -s KILL "$3" valgrind \
        --tool=callgrind --callgrind-out-file=/dev/null "$program" "$2" 2>"$out/said" || return 1
    sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p' "$out/said"
}

# The median of five differences between a run of 2,000 calls and one of 1,000: what joining and
# leaving take is in both. How often a rank looks before its peer has sent is chance, and worth 1 %.
median() {
    for _ in 1 2 3 4 5; do
        many=$(collected "$1" 2000 60)
        few=$(collected "$1" 1000 60)
        echo $(((many - few) / 1000))
    done | sort -n | sed -n 3p
}

for driver in poll uring; do
    # Valgrind up to 3.19 at least lets no other thread run while one is in io_uring_enter.
    if ! collected $driver 10 5 >/dev/null; then
        echo "instructions per 4 B allreduce, $driver: not counted (valgrind cannot run it)"
        continue
    fi
    count=$(median $driver)
    if [ -z "$count" ]; then
        cat "$out/said" >&2
        exit 1
    fi
    expected=$(sed -n "s/^$driver //p" "$here/expected.txt")
    awk -v driver=$driver -v count="$count" -v expected="$expected" 'BEGIN {
        printf "instructions per 4 B allreduce, %s: %d", driver, count
        if (expected) printf " (%+.1f %% from %d)", (count / expected - 1) * 100, expected
        print ""
    }'
done
