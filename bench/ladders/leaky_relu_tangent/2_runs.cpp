#include "genfuse/leaky_relu_tangent.h"
// genfuse: dtypes=float32

// Step 2: runs of memory, and a choice between two slopes that is no branch, so that it is vectors. What
// genfuse's own adds: half precision, any order of axes, threads that are there already.

GENFUSE_KERNEL(args) {
    const genfuse_tensor* all[] = {&args.out, &args.tangent, &args.mask};
    for (const genfuse_tensor* t : all)
        if (!genfuse::contiguous(*t)) return "memory that is not contiguous";
    genfuse::parallel(args.threads, genfuse::numel(args.out), [&args](int64_t begin, int64_t end) {
        const float above = static_cast<float>(args.positive_slope),
                    below = static_cast<float>(args.negative_slope);
        const float* tangent = static_cast<const float*>(args.tangent.data);
        const uint8_t* __restrict mask = static_cast<const uint8_t*>(args.mask.data);
        float* out = static_cast<float*>(args.out.data);
        for (int64_t i = begin; i < end; ++i) out[i] = tangent[i] * (mask[i] ? above : below);
    });
    return nullptr;
}
