#!/bin/sh
# What mpirun calls in place of ssh: [options] address command. Enters the namespace of the host
# with this address, under a name of its own: hosts of one name would be taken for one host.
while case "$1" in -*) true ;; *) false ;; esac; do shift; done
address=$1
shift
number=$((${address##*.} - 1))
exec ip netns exec "$KIRSH_BENCH_NAMESPACES$number" \
	unshare --uts sh -c "hostname host$number; $*"
