#include "genfuse/leaky_relu_tangent.h"

// Element by element. What is to be gained: runs of memory, vectors.

GENFUSE_KERNEL(args) {
    genfuse::parallel(args.threads, genfuse::numel(args.out), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const bool above = genfuse::load(args.mask, genfuse::place(args.mask, i)) != 0;
            const double tangent = genfuse::load(args.tangent, genfuse::place(args.tangent, i));
            genfuse::store(args.out, genfuse::place(args.out, i),
                           tangent * (above ? args.positive_slope : args.negative_slope));
        }
    });
    return nullptr;
}
