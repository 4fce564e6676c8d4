#include "genfuse/norm_direction.h"
// genfuse: dtypes=float32

// Step 2: dense samples are runs of memory, squares are summed in sixteen lanes of float64, the quotient is a
// product. genfuse's own scales by a power of two instead of widening, and reads half precision.

GENFUSE_KERNEL(args) {
    if (!genfuse::contiguous(args.x) || !genfuse::contiguous(args.direction))
        return "tensors that are not contiguous";
    const int64_t samples = args.x.size[0], count = samples ? genfuse::numel(args.x) / samples : 0;
    genfuse::parallel(args.threads, samples, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            const float* x = static_cast<const float*>(args.x.data) + n * count;
            float* out = static_cast<float*>(args.direction.data) + n * count;
            double lanes[16] = {}, squares = 0;
            int64_t i = 0;
            for (; i + 16 <= count; i += 16)
                for (int k = 0; k < 16; ++k) lanes[k] += static_cast<double>(x[i + k]) * x[i + k];
            for (; i < count; ++i) squares += static_cast<double>(x[i]) * x[i];
            for (double lane : lanes) squares += lane;
            const double norm = sqrt(squares), factor = norm == 0 ? 0 : 1 / norm;
            static_cast<float*>(args.norms.data)[n * args.norms.stride[0]] = static_cast<float>(norm);
            for (i = 0; i < count; ++i) out[i] = static_cast<float>(x[i] * factor);
        }
    });
    return nullptr;
}
