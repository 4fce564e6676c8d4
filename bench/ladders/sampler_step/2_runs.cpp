#include "genfuse/sampler_step.h"
// genfuse: dtypes=float32

// Step 2: a row is looked at once, not in every element; dense tensors are runs of memory without a division
// an element. What is left: five loops over the sample, each of which a row with few terms does not need.

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
const float* run(const genfuse_tensor& t, int64_t n) {
    return static_cast<const float*>(t.data) + n * t.stride[0];
}

}  // namespace

GENFUSE_KERNEL(args) {
    const int64_t samples = args.x.size[0], count = samples ? genfuse::numel(args.x) / samples : 0;
    if (!args.model_output.data || !args.out.data) return "a step without a model's output";
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
    const int64_t slot = static_cast<int64_t>(row[STORE]);
    const bool stores = args.stored.data || slot >= 0;
    if (slot >= 0 && !args.stored.data && (!args.history.data || slot >= args.history.size[0]))
        return "no such slot";
    float c[32];
    for (int i = 0; i < 32; ++i) c[i] = static_cast<float>(row[i]);
    for (int k = 0; k < 4; ++k)
        if ((c[Y + 3 + k] != 0 || c[S + 3 + k] != 0) && (!args.history.data || k >= args.history.size[0]))
            return "no such slot";
    genfuse::parallel(args.threads, samples * ((count + 4095) / 4096), [&](int64_t begin, int64_t end) {
        for (int64_t piece = begin; piece < end; ++piece) {
            const int64_t pieces = (count + 4095) / 4096, n = piece / pieces, first = piece % pieces * 4096;
            const int64_t last = first + 4096 < count ? first + 4096 : count;
            const float *x = run(args.x, n), *m = run(args.model_output, n);
            const float* free = args.uncond.data ? run(args.uncond, n) : nullptr;
            const float* h[4] = {};
            for (int k = 0; k < 4 && args.history.data && k < args.history.size[0]; ++k)
                h[k] = static_cast<const float*>(args.history.data) + k * args.history.stride[0] +
                       n * args.history.stride[1];
            float* out = const_cast<float*>(run(args.out, n));
            float* stored = args.stored.data ? const_cast<float*>(run(args.stored, n))
                            : stores         ? const_cast<float*>(h[slot])
                                             : nullptr;
            for (int64_t i = first; i < last; ++i) {
                float output = 0;
                if (!free || c[GUIDANCE] == 1)
                    output = m[i];
                else if (c[GUIDANCE] == 0)
                    output = free[i];
                else
                    output = free[i] + c[GUIDANCE] * (m[i] - free[i]);
                float x0 = c[X0_X] != 0 ? c[X0_X] * x[i] : 0;
                if (c[X0_M] != 0) x0 += c[X0_M] * output;
                x0 = x0 < c[CLIP_MIN] ? c[CLIP_MIN] : x0 > c[CLIP_MAX] ? c[CLIP_MAX] : x0;
                float y = 0, s = 0;
                const float terms[3] = {x[i], output, x0};
                for (int k = 0; k < 3; ++k) {
                    if (c[Y + k] != 0) y += c[Y + k] * terms[k];
                    if (c[S + k] != 0) s += c[S + k] * terms[k];
                }
                for (int k = 0; k < 4; ++k) {
                    if (c[Y + 3 + k] != 0) y += c[Y + 3 + k] * h[k][i];
                    if (c[S + 3 + k] != 0) s += c[S + 3 + k] * h[k][i];
                }
                if (stored) stored[i] = s;
                out[i] = y;
            }
        }
    });
    return nullptr;
}
