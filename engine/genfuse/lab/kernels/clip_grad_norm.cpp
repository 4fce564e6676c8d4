#include "genfuse/clip_grad_norm.h"

// All squares, then all products, tensor by tensor. What is to be gained: runs of memory on all threads,
// vectors.

GENFUSE_KERNEL(args) {
    double squares = 0;
    for (int64_t t = 0; t < args.gradients_count; ++t)
        for (int64_t i = 0; i < genfuse::numel(args.gradients[t]); ++i) {
            const double g = genfuse::load(args.gradients[t], genfuse::place(args.gradients[t], i));
            squares += g * g;
        }
    const double norm = sqrt(squares), factor = args.max_norm / (norm + 1e-6);
    genfuse::store(args.norm, 0, norm);
    if (factor >= 1 || (args.only_finite && !isfinite(norm))) return nullptr;
    for (int64_t t = 0; t < args.gradients_count; ++t)
        for (int64_t i = 0; i < genfuse::numel(args.gradients[t]); ++i) {
            const int64_t at = genfuse::place(args.gradients[t], i);
            genfuse::store(args.gradients[t], at, genfuse::load(args.gradients[t], at) * factor);
        }
    return nullptr;
}
