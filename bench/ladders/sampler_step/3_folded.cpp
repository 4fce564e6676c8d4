#include "genfuse/sampler_step.h"
// genfuse: dtypes=float32

// Step 3: without a clip all of a row folds into one coefficient an input, before the loop: guidance, x0 and
// the solver's combination are five products an element, which the compiler makes vectors of. What genfuse's
// own adds is every other row in the same form, stores past the cache where they pay, threads that are there
// already, and AVX-512.

namespace {

enum {
    X0_X,
    X0_M,
    CLIP_MIN,
    CLIP_MAX,
    GUIDANCE,
    RESCALE,
    QUANTILE,
    LOG_STD_V = 9,
    Y = 10,
    S = 19,
    STORE = 28
};

bool dense(const genfuse_tensor& t, int first) {
    int64_t step = 1;
    for (int i = t.axes - 1; i >= first; step *= t.size[i--])
        if (t.size[i] > 1 && t.stride[i] != step) return false;
    return true;
}

struct Folded {
    float x, m, free, h[4];
};

// The coefficients of an output, c at its terms.
Folded folded(const double* row, const double* c, bool guided) {
    const double g = guided ? row[GUIDANCE] : 1, m = c[1] + c[2] * row[X0_M];
    Folded f{static_cast<float>(c[0] + c[2] * row[X0_X]),
             static_cast<float>(g * m),
             static_cast<float>((1 - g) * m),
             {}};
    for (int k = 0; k < 4; ++k) f.h[k] = static_cast<float>(c[3 + k]);
    return f;
}

void combine(float* __restrict__ out, const float* const* in, const float* c, int inputs, int64_t count) {
    switch (inputs) {
        case 1:
            for (int64_t i = 0; i < count; ++i) out[i] = c[0] * in[0][i];
            return;
        case 2:
            for (int64_t i = 0; i < count; ++i) out[i] = c[0] * in[0][i] + c[1] * in[1][i];
            return;
        case 3:
            for (int64_t i = 0; i < count; ++i) out[i] = c[0] * in[0][i] + c[1] * in[1][i] + c[2] * in[2][i];
            return;
        case 4:
            for (int64_t i = 0; i < count; ++i)
                out[i] = c[0] * in[0][i] + c[1] * in[1][i] + (c[2] * in[2][i] + c[3] * in[3][i]);
            return;
        default:
            for (int64_t i = 0; i < count; ++i) {
                float sum = 0;
                for (int k = 0; k < inputs; ++k) sum += c[k] * in[k][i];
                out[i] = sum;
            }
    }
}

}  // namespace

GENFUSE_KERNEL(args) {
    const int64_t samples = args.x.size[0], count = samples ? genfuse::numel(args.x) / samples : 0;
    if (!args.model_output.data) return "a step without a model's output";
    if (args.table.dtype != GENFUSE_FLOAT64 || args.table.stride[1] != 1)
        return "the table is not dense float64";
    const genfuse_tensor* images[] = {&args.x, &args.model_output, &args.uncond, &args.out, &args.stored};
    for (const genfuse_tensor* t : images)
        if (t->data && !dense(*t, 1)) return "tensors that are not dense";
    if (args.history.data && !dense(args.history, 2)) return "tensors that are not dense";
    if (args.index_of_sample || args.index < 0 || args.index >= args.table.size[0]) return "a row a sample";
    const double* row = static_cast<const double*>(args.table.data) + args.index * args.table.stride[0];
    if (row[Y + 7] != 0 || row[Y + 8] != 0 || row[S + 7] != 0 || row[S + 8] != 0) return "rows with noise";
    if (row[RESCALE] != 0 || row[QUANTILE] != 0) return "rows that are rescaled or thresholded";
    if (row[CLIP_MIN] > -INFINITY || row[CLIP_MAX] < INFINITY) return "rows that are clipped";
    const int64_t slot = static_cast<int64_t>(row[STORE]),
                  slots = args.history.data ? args.history.size[0] : 0;
    if (slot >= slots && !args.stored.data) return "no such slot";
    const bool guided = args.uncond.data;
    const Folded of[2] = {folded(row, row + Y, guided), folded(row, row + S, guided)};
    for (const Folded& f : of)
        for (int k = 0; k < 4; ++k)
            if (f.h[k] != 0 && k >= slots) return "no such slot";
    const int64_t pieces = (count + 2047) / 2048;
    genfuse::parallel(
        count * samples < 65536 ? 1 : args.threads, samples * pieces, [&](int64_t begin, int64_t end) {
            for (int64_t piece = begin; piece < end; ++piece) {
                const int64_t n = piece / pieces, first = piece % pieces * 2048;
                const int64_t size = first + 2048 < count ? 2048 : count - first;
                const auto at = [&](const genfuse_tensor& t) {
                    return static_cast<float*>(t.data) + n * t.stride[0] + first;
                };
                const auto past = [&](int64_t k) {
                    return static_cast<float*>(args.history.data) + k * args.history.stride[0] +
                           n * args.history.stride[1] + first;
                };
                float made[2][2048];
                float* to[2] = {at(args.out), args.stored.data ? at(args.stored)
                                              : slot >= 0      ? past(slot)
                                                               : nullptr};
                for (int which = 0; which < 2; ++which) {
                    if (!to[which]) continue;
                    const Folded& f = of[which];
                    const float* in[7];
                    float c[7];
                    int inputs = 0;
                    const auto add = [&](float factor, const float* from) {
                        if (factor != 0) c[inputs] = factor, in[inputs++] = from;
                    };
                    add(f.x, at(args.x));
                    add(f.m, at(args.model_output));
                    if (guided) add(f.free, at(args.uncond));
                    for (int k = 0; k < 4; ++k) add(f.h[k], f.h[k] != 0 ? past(k) : nullptr);
                    combine(made[which], in, c, inputs, size);
                }
                for (int which = 0; which < 2; ++which)  // behind both: an output may be an input's memory
                    if (to[which]) memcpy(to[which], made[which], static_cast<size_t>(size) * sizeof(float));
            }
        });
    return nullptr;
}
