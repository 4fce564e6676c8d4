#include "genfuse/clip_weights.h"

// Tensor by tensor, element by element. What is to be gained: one pass over all of them on all threads,
// vectors.

GENFUSE_KERNEL(args) {
    for (int64_t t = 0; t < args.parameters_count; ++t) {
        const genfuse_tensor& p = args.parameters[t];
        for (int64_t i = 0; i < genfuse::numel(p); ++i) {
            const int64_t at = genfuse::place(p, i);
            const double v = genfuse::load(p, at);
            if (v < -args.bound || v > args.bound) genfuse::store(p, at, v < 0 ? -args.bound : args.bound);
        }
    }
    return nullptr;
}
