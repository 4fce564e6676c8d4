#include "genfuse/sampler_reduce.h"
// after it
#include <algorithm>

// A sample at a time, in float64: sums in two passes, the quantile by sorting. What is to be gained: one
// pass, a selection that looks at each element a few times.

namespace {

enum { X0_X, X0_M, GUIDANCE = 4, RESCALE, QUANTILE, THRESHOLD_MAX };

double deviation(const std::vector<double>& values) {
    double mean = 0, squares = 0;
    for (double v : values) mean += v - values[0];
    mean = values[0] + mean / static_cast<double>(values.size());
    for (double v : values) squares += (v - mean) * (v - mean);
    return sqrt(squares / static_cast<double>(values.size() - 1));
}

}  // namespace

GENFUSE_KERNEL(args) {
    const int64_t samples = args.x.size[0], count = samples ? genfuse::numel(args.x) / samples : 0;
    if (args.table.dtype != GENFUSE_FLOAT64 || args.table.stride[1] != 1)
        return "the table is not dense float64";
    for (int64_t n = 0; n < samples; ++n) {
        const int64_t index = args.index_of_sample ? args.index_of_sample[n] : args.index;
        if (index < 0 || index >= args.table.size[0]) return "a row that the table does not have";
    }
    genfuse::parallel(args.threads, samples, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            const int64_t index = args.index_of_sample ? args.index_of_sample[n] : args.index;
            const double* row = static_cast<const double*>(args.table.data) + index * args.table.stride[0];
            const auto of = [&](const genfuse_tensor& t, int64_t i) {
                return genfuse::load(t, genfuse::place(t, n * count + i));
            };
            std::vector<double> given, guided;
            for (int64_t i = 0; i < count; ++i) {
                const double m = of(args.model_output, i), free = args.uncond.data ? of(args.uncond, i) : m;
                given.push_back(m);
                guided.push_back(row[GUIDANCE] == 1 ? m : free + row[GUIDANCE] * (m - free));
            }
            double factor = 1, threshold = INFINITY;
            if (row[RESCALE] != 0 && args.uncond.data) {
                const double spread = deviation(guided);
                factor = spread == 0 ? 1 : row[RESCALE] * deviation(given) / spread + 1 - row[RESCALE];
            }
            if (row[QUANTILE] != 0) {
                for (int64_t i = 0; i < count; ++i) {
                    double& v = guided[static_cast<size_t>(i)];
                    v = fabs(row[X0_X] * of(args.x, i) + row[X0_M] * factor * v);
                }
                std::sort(guided.begin(), guided.end());
                const double at = row[QUANTILE] * static_cast<double>(count - 1);
                const size_t below = static_cast<size_t>(at), above = std::min(below + 1, guided.size() - 1);
                threshold =
                    guided[below] + (at - static_cast<double>(below)) * (guided[above] - guided[below]);
                threshold = std::min(std::max(threshold, 1.0), row[THRESHOLD_MAX]);
            }
            genfuse::store(args.scales, genfuse::place(args.scales, 2 * n), factor);
            genfuse::store(args.scales, genfuse::place(args.scales, 2 * n + 1), threshold);
        }
    });
    return nullptr;
}
