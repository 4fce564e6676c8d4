// bias_act's C interface: checks a call and shares its planes, or rows, among the threads.
#include "bias_act/job.h"
#include "common/message.h"

int64_t genfuse::bias_act_planes(int64_t pixels) {
    return pixels < kBiasActPiece ? kBiasActPiece / pixels : 1;
}

int64_t genfuse_bias_act_blocks(int64_t pixels) {
    return (pixels + genfuse::kBiasActRows - 1) / genfuse::kBiasActRows;
}

genfuse_status genfuse_bias_act(const genfuse_bias_act_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_bias_act_args& a = *args;
    if (a.dtype != GENFUSE_FLOAT32 && a.dtype != GENFUSE_BFLOAT16 && a.dtype != GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, bfloat16 or float16", a.dtype);
    }
    if (a.activation < 0 || a.activation >= GENFUSE_BIAS_ACTIVATIONS) {
        return invalid(message, "activation is number %d, expected a number of params.h", a.activation);
    }
    if (a.samples < 0 || a.channels < 0 || a.pixels < 0) {
        return invalid(message, "samples, channels or pixels is negative, expected 0 or more%s", "");
    }
    if (!(a.clamp >= 0)) {
        return invalid(message, "clamp is %g, expected 0 or more", static_cast<double>(a.clamp));
    }
    if (a.samples == 0 || a.channels == 0 || a.pixels == 0) return GENFUSE_OK;
    if (!a.x || !a.out) return invalid(message, "x or out is absent, expected both%s", "");
    if (!a.gradient && (a.of_result || a.bias_sums || a.scale_sums)) {
        return invalid(message, "gradient is absent, expected it beside of_result and sums%s", "");
    }
    const int64_t work = a.samples * a.channels * a.pixels, each = bias_act_planes(a.pixels);
    const int64_t units = a.channels_last ? a.samples * genfuse_bias_act_blocks(a.pixels)
                                          : (a.samples * a.channels - 1) / each + 1;
    run_units(GENFUSE_KERNEL(bias_act_units), a, units, work, a.threads);
    return GENFUSE_OK;
}
