#include "genfuse/clip_weights.h"
// genfuse: dtypes=float32

// Step 2: dense tensors are runs of memory, without a branch, and each thread has the same part of every
// tensor at every call. What genfuse's own adds: threads that are there already, half precision.

GENFUSE_KERNEL(args) {
    genfuse::parallel(args.threads, args.threads, [&](int64_t begin, int64_t end) {
        for (int64_t t = 0; t < args.parameters_count; ++t) {
            const genfuse_tensor& p = args.parameters[t];
            const int64_t count = genfuse::numel(p), first = count * begin / args.threads,
                          last = count * end / args.threads;
            if (p.dtype == GENFUSE_FLOAT32 && genfuse::contiguous(p)) {
                float* of = static_cast<float*>(p.data);
                const float bound = static_cast<float>(args.bound);
                for (int64_t i = first; i < last; ++i)
                    of[i] = of[i] < -bound ? -bound : of[i] > bound ? bound : of[i];
                continue;
            }
            for (int64_t i = first; i < last; ++i) {
                const int64_t at = genfuse::place(p, i);
                const double v = genfuse::load(p, at);
                if (v < -args.bound || v > args.bound)
                    genfuse::store(p, at, v < 0 ? -args.bound : args.bound);
            }
        }
    });
    return nullptr;
}
