#include "genfuse/philox_lerp.h"
// genfuse: dtypes=float32

// Step 2: a weight is drawn once a sample, and a sample is a run of memory. What genfuse's own adds: weights
// of many small samples at once, half precision, any strides, threads that are there already.

GENFUSE_KERNEL(args) {
    const genfuse_tensor* all[] = {&args.out, &args.start, &args.end};
    for (const genfuse_tensor* t : all)
        if (t->data && !genfuse::contiguous(*t)) return "memory that is not contiguous";
    const int64_t samples = args.out.size[0], count = samples ? genfuse::numel(args.out) / samples : 0;
    genfuse::parallel(args.threads, samples, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            uint32_t words[4];
            genfuse::philox(static_cast<uint64_t>(args.seed), 0, static_cast<uint32_t>(args.first + n), 4,
                            words);
            const float of_end = static_cast<float>(genfuse::uniform(words[0])), of_start = 1 - of_end;
            const auto at = [&](const genfuse_tensor& t) { return static_cast<float*>(t.data) + n * count; };
            float* out = at(args.out);
            if (args.start.data && args.end.data) {
                const float *start = at(args.start), *stop = at(args.end);
                for (int64_t i = 0; i < count; ++i) out[i] = of_start * start[i] + of_end * stop[i];
            } else {
                const float* given = at(args.start.data ? args.start : args.end);
                const float factor = args.start.data ? of_start : of_end;
                for (int64_t i = 0; i < count; ++i) out[i] = factor * given[i];
            }
        }
    });
    return nullptr;
}
