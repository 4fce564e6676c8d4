#!/bin/sh
# The extension and the C library under AddressSanitizer and UndefinedBehaviourSanitizer, in build/sanitize, with the
# 64-byte kernels built from AVX2 instructions, so that all three vector widths run on any AVX2 machine.
# From the repository's root; PYTHON names the interpreter.
set -eu
python=${PYTHON:-.venv/bin/python}
build=build/sanitize

cmake=$(command -v cmake || echo "$(dirname "$python")/cmake")
"$cmake" -S csrc -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DGENFUSE_PYTHON=ON -DGENFUSE_SANITIZE=ON -DGENFUSE_EMULATE_AVX512=ON \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(command -v "$python")" >/dev/null
"$cmake" --build "$build" --parallel "$(nproc)"
