#!/bin/sh
# The CPU tests once more, with what build_sanitized.sh builds.
#
#   tests/csrc/sanitize.sh [pytest arguments]      from the repository's root; PYTHON names the interpreter
set -eu
python=${PYTHON:-.venv/bin/python}
build=build/sanitize
tests/csrc/build_sanitized.sh

# Python and PyTorch leave memory behind on purpose; ours is the extension's addresses and arithmetic.
GENFUSE_CPU_EXTENSION=$(ls "$PWD/$build"/_cpu*.so) GENFUSE_LIBRARY="$PWD/$build/embed/libgenfuse.so" \
    LD_PRELOAD="$(${CXX:-c++} -print-file-name=libasan.so) $(${CXX:-c++} -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    "$python" -m pytest -p csrc.built_extension \
    -k "not compile" \
    tests/embed/test_samplers.py tests/embed/test_tables.py tests/embed/test_library.py::test_inputs_of_any_kind \
    tests/ops/test_attention.py tests/ops/test_bias_act.py tests/ops/test_clip_grad_norm.py tests/ops/test_clip_weights.py tests/ops/test_ema_update.py \
    tests/ops/test_conv_gradient_cpu.py tests/ops/test_conv_norm_act_cpu.py \
    tests/ops/test_leaky_relu_tangent.py tests/ops/test_linear.py tests/ops/test_norm_act.py \
    tests/ops/test_norm_gradient.py tests/ops/test_norm_direction.py tests/ops/test_norm_stats.py tests/ops/test_norm_tangent.py tests/ops/test_philox_lerp.py tests/ops/test_philox_normal_cpu.py \
    tests/ops/test_sampler_reduce_cpu.py \
    tests/ops/test_sampler_step_cpu.py tests/ops/test_spectral_norm.py tests/ops/test_threads.py tests/ops/test_timestep_embedding.py tests/ops/test_upfirdn2d.py "$@"
