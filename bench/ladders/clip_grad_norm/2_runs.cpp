#include "genfuse/clip_grad_norm.h"

// Step 2: each thread sums the squares of its part of every tensor, runs of memory in sixteen lanes of
// float64, and scales the same part. What genfuse's own adds: half precision in vectors, tiles whose sums are
// added in one order, so that bits do not depend on the threads, and threads that are there already.

namespace {

double squares_of(const genfuse_tensor& g, int64_t begin, int64_t end) {
    double lanes[16] = {}, sum = 0;
    int64_t i = begin;
    if (g.dtype == GENFUSE_FLOAT32 && genfuse::contiguous(g)) {
        const float* of = static_cast<const float*>(g.data);
        for (; i + 16 <= end; i += 16)
            for (int k = 0; k < 16; ++k) lanes[k] += static_cast<double>(of[i + k]) * of[i + k];
    }
    for (; i < end; ++i) {
        const double v = genfuse::load(g, genfuse::place(g, i));
        sum += v * v;
    }
    for (double lane : lanes) sum += lane;
    return sum;
}

void scale(const genfuse_tensor& g, double factor, int64_t begin, int64_t end) {
    if (g.dtype == GENFUSE_FLOAT32 && genfuse::contiguous(g)) {
        float* of = static_cast<float*>(g.data);
        const float by = static_cast<float>(factor);
        for (int64_t i = begin; i < end; ++i) of[i] *= by;
        return;
    }
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = genfuse::place(g, i);
        genfuse::store(g, at, genfuse::load(g, at) * factor);
    }
}

}  // namespace

GENFUSE_KERNEL(args) {
    const auto parts = [&](const auto& of) {  // of(thread, tensor, begin, end)
        genfuse::parallel(args.threads, args.threads, [&](int64_t begin, int64_t end) {
            for (int64_t t = 0; t < args.gradients_count; ++t) {
                const int64_t count = genfuse::numel(args.gradients[t]);
                of(begin, args.gradients[t], count * begin / args.threads, count * end / args.threads);
            }
        });
    };
    std::vector<double> squares(static_cast<size_t>(args.threads));
    parts([&](int64_t thread, const genfuse_tensor& g, int64_t begin, int64_t end) {
        squares[static_cast<size_t>(thread)] += squares_of(g, begin, end);
    });
    double sum = 0;
    for (double each : squares) sum += each;
    const double norm = sqrt(sum), factor = args.max_norm / (norm + 1e-6);
    genfuse::store(args.norm, 0, norm);
    if (factor >= 1 || (args.only_finite && !isfinite(norm))) return nullptr;
    parts(
        [&](int64_t, const genfuse_tensor& g, int64_t begin, int64_t end) { scale(g, factor, begin, end); });
    return nullptr;
}
