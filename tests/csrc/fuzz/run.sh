#!/bin/sh
# Builds a fuzzer of the C interface and runs it: tests/csrc/fuzz/run.sh network|sampler FOLDER SECONDS [afl]
# By clang's libFuzzer, or by AFL++ in its persistent mode; AddressSanitizer and UndefinedBehaviourSanitizer either
# way. Inputs, what crashes among them, and the build are left in FOLDER: a second run goes on where the first ended.
# FOLDER/NAME.smallest then has as few inputs as reach what all of them do.
set -e
[ $# -ge 3 ] || { echo "usage: $0 network|sampler FOLDER SECONDS [afl]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
name=$1 seconds=$3 engine=${4:-libfuzzer}
mkdir -p "$2" && folder=$(cd "$2" && pwd)
if [ "$engine" = afl ]; then
  cc=afl-clang-fast cxx=afl-clang-fast++ afl=ON
else
  cc=$(command -v clang-14 || echo clang) cxx=$(command -v clang++-14 || echo clang++) afl=OFF
fi
cmake -S "$here" -B "$folder/$engine" -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DGENFUSE_FUZZ_AFL=$afl
cmake --build "$folder/$engine" --parallel "$(nproc)" --target "$name"
cd "$folder"
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
