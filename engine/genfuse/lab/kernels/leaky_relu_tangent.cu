#include "genfuse/leaky_relu_tangent.h"
// genfuse: threads=256

// A thread an element. What is to be gained: 128-bit accesses, float32.

GENFUSE_KERNEL(args) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * GENFUSE_THREADS + threadIdx.x;
    if (i >= genfuse::numel(args.out)) return;
    const bool above = genfuse::load(args.mask, genfuse::place(args.mask, i)) != 0;
    const double tangent = genfuse::load(args.tangent, genfuse::place(args.tangent, i));
    genfuse::store(args.out, genfuse::place(args.out, i),
                   tangent * (above ? args.positive_slope : args.negative_slope));
}
