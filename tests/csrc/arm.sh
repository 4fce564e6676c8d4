#!/bin/sh
# The kernels for 64-bit Arm: compiled without a warning, then run under QEMU beside the definition.
#
#   tests/csrc/arm.sh      from the repository's root; needs Debian's g++-aarch64-linux-gnu and qemu-user
set -eu
build=${BUILD:-build/arm}
compile="${CXX:-aarch64-linux-gnu-g++} -std=c++17 -O2 -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror -Wno-psabi -Icsrc -DGENFUSE_VERSION=\"0\""
mkdir -p "$build"
rm -f "$build"/*.o

# A kernel is compiled once an instruction set: sources that name GENFUSE_ISA.
for source in $(git ls-files 'csrc/*.cpp' | grep -v bindings); do
    object="$build/$(echo "$source" | tr / _).o"
    if grep -q GENFUSE_ISA "$source"; then
        $compile -DGENFUSE_ISA=baseline -DGENFUSE_VECTOR_BYTES=16 -c "$source" -o "$object"
    else
        $compile -DGENFUSE_EMULATE_AVX512=0 -c "$source" -o "$object"
    fi
done
for program in isas_agree conv_numbers; do
    $compile "tests/csrc/$program.cpp" "$build"/*.o -pthread -o "$build/$program"
    ${QEMU:-qemu-aarch64 -L /usr/aarch64-linux-gnu} "$build/$program"
done
