#!/bin/sh
# Installs the C and C++ faces, and the `kirsh` command where it has been built.
#
#     kirsh-ffi/install.sh PREFIX [DESTDIR]
#
# PREFIX is where the files will live (/usr/local), DESTDIR a directory to put in front of it while
# packaging; without it DESTDIR of the environment counts. From the environment also: LIBDIR (default PREFIX/lib; below PREFIX) and KIRSH_BUILD, the
# directory with what cargo built (default target/release of this repository).
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 PREFIX [DESTDIR]" >&2
    exit 2
fi
case $1 in
    /*) prefix=$1 ;;
    *) echo "$0: PREFIX must be absolute, and is $1" >&2; exit 2 ;;
esac
destdir=${2:-${DESTDIR:-}}
libdir=${LIBDIR:-$prefix/lib}
case $libdir in
    "$prefix"/*) ;;
    *) echo "$0: LIBDIR must lie below $prefix, and is $libdir" >&2; exit 2 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
build=${KIRSH_BUILD:-$root/target/release}
for file in libkirsh.so libkirsh.a; do
    if [ ! -f "$build/$file" ]; then
        echo "$0: $build/$file is missing: cargo build --release -p kirsh-ffi" >&2
        exit 1
    fi
done

# The release is the workspace's; the number of the ABI is that of the SONAME in build.rs.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
abi=$(sed -n 's/.*-soname,libkirsh\.so\.\([0-9]*\)".*/\1/p' "$here/build.rs")
major=${version%%.*}
minor=${version#*.}
minor=${minor%%.*}
# One ".." for each step from the library directory up to the prefix.
up=$(printf '%s' "${libdir#"$prefix"/}" | sed 's|[^/][^/]*|..|g')

fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@VERSION@|$version|g" \
        -e "s|@ABI@|$abi|g" -e "s|@MAJOR@|$major|g" -e "s|@MINOR@|$minor|g" \
        -e "s|@UP_FROM_LIBDIR@|$up|g" "$1" > "$2"
    chmod 644 "$2"
}

install -d "$destdir$prefix/include" "$destdir$libdir/pkgconfig" "$destdir$libdir/cmake/Kirsh"
install -m 755 "$build/libkirsh.so" "$destdir$libdir/libkirsh.so.$version"
ln -sf "libkirsh.so.$version" "$destdir$libdir/libkirsh.so.$abi"
ln -sf "libkirsh.so.$abi" "$destdir$libdir/libkirsh.so"
install -m 644 "$build/libkirsh.a" "$destdir$libdir/libkirsh.a"
install -m 644 "$root/include/kirsh.h" "$root/include/kirsh.hpp" "$destdir$prefix/include/"
fill "$here/kirsh.pc.in" "$destdir$libdir/pkgconfig/kirsh.pc"
fill "$here/cmake/KirshConfig.cmake.in" "$destdir$libdir/cmake/Kirsh/KirshConfig.cmake"
fill "$here/cmake/KirshConfigVersion.cmake.in" "$destdir$libdir/cmake/Kirsh/KirshConfigVersion.cmake"
if [ -f "$build/kirsh" ]; then
    install -d "$destdir$prefix/bin"
    install -m 755 "$build/kirsh" "$destdir$prefix/bin/kirsh"
fi
echo "installed kirsh $version under $destdir$prefix"
