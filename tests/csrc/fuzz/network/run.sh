#!/bin/sh
# Builds the fuzzer of what loads a network, and runs it: tests/csrc/fuzz/network/run.sh FOLDER SECONDS [seed]
# By clang's libFuzzer where there is one (CXX=clang++-14), else by mutations of its own; with AddressSanitizer
# and UndefinedBehaviourSanitizer either way. What it finds is left in FOLDER.
set -e
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
mkdir -p "$1" && cd "$1"
folder=$PWD
cxx=${CXX:-$(command -v clang++-14 || command -v clang++ || echo c++)}
flags="-std=c++17 -O1 -gline-tables-only -fno-omit-frame-pointer -ffp-contract=off -fno-math-errno -pthread -I$root/csrc -Wno-psabi -DGENFUSE_EMULATE_AVX512=0"
case $cxx in
  *clang*) fuzzer="-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined" instrument="-fsanitize=fuzzer-no-link,address,undefined" ;;
  *) fuzzer="-fsanitize=address,undefined -fno-sanitize-recover=undefined -DGENFUSE_FUZZ_ALONE" instrument=$fuzzer ;;
esac
# The kernels of the smallest instruction set, whose bounds are all the others' too: AddressSanitizer alone, as more
# takes an hour to compile.
cd "$root/csrc"
kernels=$(ls attention/cpu.cpp attention/few_channels.cpp bias_act/cpu.cpp upfirdn2d/cpu.cpp conv_norm_act/batched.cpp \
  conv_norm_act/depthwise.cpp conv_norm_act/direct.cpp conv_norm_act/identity.cpp conv_norm_act/matrix.cpp \
  conv_norm_act/pack_units.cpp conv_norm_act/planar.cpp conv_norm_act/statistics.cpp conv_norm_act/winograd.cpp)
others=$(ls common/*.cpp glue/*.cpp network/*.cpp */launch.cpp timestep_embedding/cpu.cpp conv_norm_act/check.cpp \
  conv_norm_act/choose.cpp conv_norm_act/fold.cpp conv_norm_act/geometry.cpp conv_norm_act/pack.cpp conv_norm_act/prologue.cpp |
  grep -E '^(common|glue|network|attention|bias_act|norm_stats|upfirdn2d|timestep_embedding|conv_norm_act)/')
cd "$folder"
build() {
  object=$(echo "$1" | tr / _).o
  [ "$object" -nt "$root/csrc/$1" ] || $cxx $flags $2 -c "$root/csrc/$1" -o "$object"
}
for source in $kernels; do build "$source" "-DGENFUSE_ISA=baseline -DGENFUSE_VECTOR_BYTES=16 -fsanitize=address"; done
for source in $others; do build "$source" "$instrument"; done
$cxx $flags $fuzzer "$here/fuzz.cpp" *.o -o network
export GENFUSE_FUZZ_CORPUS="$here/corpus"
seeds=$(ls "$here"/corpus/plan-* "$here"/corpus/step-* "$here"/corpus/file)
case $cxx in
  *clang*) mkdir -p found && ./network found "$here/corpus" -max_total_time="$2" -rss_limit_mb=2048 -timeout=60 \
    -print_final_stats=1 -max_len=200000 ;;
  *) timeout "$2" ./network 1000000000 "${3:-1}" $seeds || [ $? = 124 ] ;;
esac
