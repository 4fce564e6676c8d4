#include "genfuse/norm_tangent.h"

// A set at a time, in four passes: mean, variance, the two means of the tangent, the result. What is to be
// gained: the sums in one pass, runs of memory.

GENFUSE_KERNEL(args) {
    const int64_t sets = args.x.size[0], size = args.x.size[1];
    const genfuse_tensor& weight = args.weight;
    genfuse::parallel(args.threads, sets, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
            const auto of = [&](const genfuse_tensor& t, int64_t i) {
                return genfuse::load(t, b * t.stride[0] + i * t.stride[1]);
            };
            const double count = static_cast<double>(size);
            double mean = 0, variance = 0, moved = 0, along = 0;
            for (int64_t i = 0; i < size; ++i)
                mean += of(args.x, i) / count, moved += of(args.tangent, i) / count;
            for (int64_t i = 0; i < size; ++i)
                variance += (of(args.x, i) - mean) * (of(args.x, i) - mean) / count;
            const double r = 1 / sqrt(variance + args.eps);
            for (int64_t i = 0; i < size; ++i)
                along += (of(args.x, i) - mean) * r * of(args.tangent, i) / count;
            for (int64_t i = 0; i < size; ++i) {
                double v = r * (of(args.tangent, i) - moved - (of(args.x, i) - mean) * r * along);
                if (weight.data)
                    v *= genfuse::load(weight, b % weight.size[0] * weight.stride[0] +
                                                   i * weight.size[1] / size * weight.stride[1]);
                genfuse::store(args.out, b * args.out.stride[0] + i * args.out.stride[1], v);
            }
        }
    });
    return nullptr;
}
