#include "genfuse/philox_normal.h"
// genfuse: threads=256

// A thread a number: four of a counter are drawn four times. What is to be gained: a counter once, 128-bit
// stores.

GENFUSE_KERNEL(args) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * GENFUSE_THREADS + threadIdx.x;
    if (i >= genfuse::numel(args.out)) return;
    const int64_t count = genfuse::numel(args.out) / args.out.size[0], n = i / count;
    const int64_t row = args.row_of_sample ? args.row_of_sample[n] : args.row;
    const int64_t seed = static_cast<const int64_t*>(args.seeds.data)[n * args.seeds.stride[0]];
    const double normal = genfuse::normal(static_cast<uint64_t>(seed), static_cast<uint64_t>(i % count),
                                          static_cast<uint32_t>(row), static_cast<uint32_t>(args.stream));
    genfuse::store(args.out, genfuse::place(args.out, i), normal);
}
