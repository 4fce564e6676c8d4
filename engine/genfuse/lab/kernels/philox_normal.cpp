#include "genfuse/philox_normal.h"

// Each number on its own: four of a counter are drawn four times. What is to be gained: a counter once,
// vectors.

GENFUSE_KERNEL(args) {
    const int64_t samples = args.out.size[0], count = samples ? genfuse::numel(args.out) / samples : 0;
    const int64_t* seeds = static_cast<const int64_t*>(args.seeds.data);
    genfuse::parallel(args.threads, samples * count, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t n = i / count, row = args.row_of_sample ? args.row_of_sample[n] : args.row;
            const double normal = genfuse::normal(
                static_cast<uint64_t>(seeds[n * args.seeds.stride[0]]), static_cast<uint64_t>(i % count),
                static_cast<uint32_t>(row), static_cast<uint32_t>(args.stream));
            genfuse::store(args.out, genfuse::place(args.out, i), normal);
        }
    });
    return nullptr;
}
