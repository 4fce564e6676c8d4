#include <algorithm>

#include "genfuse/sampler_reduce.h"
// genfuse: dtypes=float32

// Step 2: runs of float32, and a selection in place of sorting: two order statistics are wanted, not all of
// them. What is left: a selection that partitions all of a sample several times, by branches that nobody
// predicts.

namespace {

enum { X0_X, X0_M, GUIDANCE = 4, RESCALE, QUANTILE, THRESHOLD_MAX };

double deviation(const std::vector<float>& values) {  // about the first, so that equal ones have exactly 0
    double mean = 0, squares = 0;
    for (float v : values) mean += static_cast<double>(v) - values[0];
    mean = values[0] + mean / static_cast<double>(values.size());
    for (float v : values) squares += (v - mean) * (v - mean);
    const bool equal = std::all_of(values.begin(), values.end(), [&](float v) { return v == values[0]; });
    return equal ? 0 : sqrt(squares / static_cast<double>(values.size() - 1));
}

// torch.quantile: NaN where any is.
double quantile(std::vector<float>* values, double q) {
    for (float v : *values)
        if (v != v) return v;
    const double at = q * static_cast<double>(values->size() - 1);
    const auto below = values->begin() + static_cast<int64_t>(at);
    std::nth_element(values->begin(), below, values->end());
    const double low = *below, rest = at - floor(at);
    return rest == 0 ? low : low + rest * (*std::min_element(below + 1, values->end()) - low);
}

}  // namespace

GENFUSE_KERNEL(args) {
    const int64_t samples = args.x.size[0], count = samples ? genfuse::numel(args.x) / samples : 0;
    if (args.table.dtype != GENFUSE_FLOAT64 || args.table.stride[1] != 1)
        return "the table is not dense float64";
    const genfuse_tensor* inputs[] = {&args.x, &args.model_output, &args.uncond};
    for (const genfuse_tensor* t : inputs)
        if (t->data && !genfuse::contiguous(*t)) return "tensors that are not contiguous";
    for (int64_t n = 0; n < samples; ++n) {
        const int64_t index = args.index_of_sample ? args.index_of_sample[n] : args.index;
        if (index < 0 || index >= args.table.size[0]) return "a row that the table does not have";
    }
    genfuse::parallel(args.threads, samples, [&](int64_t begin, int64_t end) {
        std::vector<float> guided(static_cast<size_t>(count));
        for (int64_t n = begin; n < end; ++n) {
            const int64_t index = args.index_of_sample ? args.index_of_sample[n] : args.index;
            const double* row = static_cast<const double*>(args.table.data) + index * args.table.stride[0];
            const auto of = [&](const genfuse_tensor& t) {
                return static_cast<const float*>(t.data) + n * count;
            };
            const float *x = of(args.x), *m = of(args.model_output),
                        *free = args.uncond.data ? of(args.uncond) : m;
            const float guidance = static_cast<float>(row[GUIDANCE]);
            for (int64_t i = 0; i < count; ++i)
                guided[static_cast<size_t>(i)] = guidance == 1 ? m[i] : free[i] + guidance * (m[i] - free[i]);
            double factor = 1, threshold = INFINITY;
            if (row[RESCALE] != 0 && args.uncond.data) {
                const double spread = deviation(guided), given = deviation({m, m + count});
                factor = spread == 0 ? 1 : row[RESCALE] * given / spread + 1 - row[RESCALE];
            }
            if (row[QUANTILE] != 0) {
                const float of_x = static_cast<float>(row[X0_X]),
                            of_m = static_cast<float>(row[X0_M] * factor);
                for (int64_t i = 0; i < count; ++i)
                    guided[static_cast<size_t>(i)] =
                        fabsf(of_x * x[i] + of_m * guided[static_cast<size_t>(i)]);
                threshold = quantile(&guided, row[QUANTILE]);
                if (threshold == threshold)
                    threshold = std::min(std::max(threshold, 1.0), row[THRESHOLD_MAX]);
            }
            genfuse::store(args.scales, genfuse::place(args.scales, 2 * n), factor);
            genfuse::store(args.scales, genfuse::place(args.scales, 2 * n + 1), threshold);
        }
    });
    return nullptr;
}
