#!/bin/sh
# Builds a fuzzer of the C interface and runs it: tests/csrc/fuzz/run.sh network|sampler FOLDER SECONDS [afl]
# By clang's libFuzzer, or by AFL++ in its persistent mode; AddressSanitizer and UndefinedBehaviourSanitizer either
# way. Inputs, what crashes among them, and objects are left in FOLDER: a second run goes on where the first ended.
# FOLDER/smallest then has as few inputs as reach what all of them do.
set -e
[ $# -ge 3 ] || { echo "usage: $0 network|sampler FOLDER SECONDS [afl]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
name=$1 seconds=$3 engine=${4:-libfuzzer}
mkdir -p "$2/$engine" && folder=$(cd "$2" && pwd)
clangxx=$(command -v clang++-14 || echo clang++)
if [ "$engine" = afl ]; then
  cc=afl-clang-fast cxx=afl-clang-fast++ instrument="-fsanitize=address,undefined" own=
else
  cc=$(command -v clang-14 || echo clang) cxx=$clangxx
  instrument="-fsanitize=fuzzer-no-link,address,undefined" own=-DLIBFUZZER
fi
flags="-O1 -gline-tables-only -fno-omit-frame-pointer -ffp-contract=off -fno-math-errno -pthread"
flags="$flags -I$root/csrc -I$root/csrc/include -DGENFUSE_EMULATE_AVX512=0 -fno-sanitize-recover=undefined"
cd "$root/csrc"
# Kernels of the smallest instruction set, whose bounds are all the others' too. They have AddressSanitizer alone:
# which of their loops ran says nothing of what an input may do.
if [ "$name" = network ]; then
  kernels="attention/cpu.cpp attention/few_channels.cpp bias_act/cpu.cpp upfirdn2d/cpu.cpp conv_norm_act/batched.cpp
    conv_norm_act/depthwise.cpp conv_norm_act/direct.cpp conv_norm_act/identity.cpp conv_norm_act/matrix.cpp
    conv_norm_act/pack_units.cpp conv_norm_act/planar.cpp conv_norm_act/statistics.cpp conv_norm_act/winograd.cpp"
  others=$(ls common/*.cpp glue/*.cpp network/*.cpp attention/launch.cpp bias_act/launch.cpp norm_stats/launch.cpp \
    timestep_embedding/cpu.cpp upfirdn2d/launch.cpp conv_norm_act/check.cpp conv_norm_act/choose.cpp \
    conv_norm_act/fold.cpp conv_norm_act/geometry.cpp conv_norm_act/launch.cpp conv_norm_act/pack.cpp \
    conv_norm_act/prologue.cpp)
else
  kernels="philox_normal/cpu.cpp sampler_reduce/cpu.cpp sampler_step/cpu.cpp"
  others=$(ls common/*.cpp embed/guarded.cpp embed/interface.cpp embed/sampler*.cpp embed/schedule.cpp samplers/*.cpp \
    philox_normal/launch.cpp sampler_reduce/launch.cpp sampler_reduce/quantile.cpp sampler_step/launch.cpp \
    sampler_step/program.cpp)
fi
all=
build() {  # source, folder of objects, compiler, flags
  object="$2/$(echo "$1" | tr / _).o"
  all="$all $object"
  [ "$object" -nt "$1" ] || $3 -std=c++17 -Wno-psabi $flags $4 -c "$1" -o "$object.new"
  [ ! -f "$object.new" ] || mv "$object.new" "$object"
}
for source in $kernels; do
  build "$source" "$folder" "$clangxx" "-DGENFUSE_ISA=baseline -DGENFUSE_VECTOR_BYTES=16 -fsanitize=address"
done
for source in $others; do
  build "$source" "$folder/$engine" "$cxx" "-DGENFUSE_VERSION=\"fuzz\" $instrument"
done
cd "$folder"
main=$(ls "$here/$name"/fuzz.c*)
[ "$main" = "${main%.c}" ] || compiler=$cc
${compiler:-$cxx -std=c++17} $flags $own $instrument -c "$main" -o "$engine/$name.main"
$cxx $flags -fsanitize=fuzzer -fsanitize=address,undefined "$engine/$name.main" $all -lm -o "$engine/$name"
export GENFUSE_FUZZ_TENSORS="$here/network/tensors"
words=
[ "$name" = sampler ] || words=$here/network/dictionary
mkdir -p "$name.found" "$name.start"
for each in "$here/$name/seeds" "$here/$name/corpus"; do [ ! -d "$each" ] || cp "$each"/* "$name.start/"; done
if [ "$engine" = afl ]; then
  AFL_FAST_CAL=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1 AFL_AUTORESUME=1 \
    afl-fuzz -i "$name.start" -o "$name.afl" -V "$seconds" -t 5000 ${words:+-x "$words"} -- "$engine/$name"
  cp "$name.afl"/default/queue/id* "$name.found/"
else
  "$engine/$name" "$name.found" "$name.start" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=60 -max_len=16384 \
    -print_final_stats=1 ${words:+-dict="$words"}
  rm -rf "$name.smallest" && mkdir "$name.smallest"
  "$engine/$name" -merge=1 "$name.smallest" "$name.start" "$name.found"
fi
