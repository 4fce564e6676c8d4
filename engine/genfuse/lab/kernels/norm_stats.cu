#include "genfuse/norm_stats.h"
// genfuse: threads=128 blocks=channels

// A block a channel of a sample, its sums folded in shared memory, two passes. What is to be gained: one
// pass, float32, 128-bit loads, several channels a block where they are small.

GENFUSE_KERNEL(args) {
#ifdef GENFUSE_EMULATED
    static char declaration;
    double* sums = emulation::shared_memory<double>(&declaration, GENFUSE_THREADS);
#else
    __shared__ double sums[GENFUSE_THREADS];
#endif
    const genfuse_tensor& x = args.x;
    const int64_t channel = blockIdx.x, width = x.size[3], pixels = x.size[2] * width;
    double mean = 0;
    for (int pass = 0; pass < 2; ++pass) {
        double sum = 0;
        for (int64_t p = threadIdx.x; p < pixels; p += GENFUSE_THREADS) {
            const int64_t at = genfuse::at(x, channel / x.size[1], channel % x.size[1], p / width, p % width);
            const double off = genfuse::load(x, at) - mean;
            sum += pass ? off * off : off;
        }
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (int half = GENFUSE_THREADS / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
            __syncthreads();
        }
        const double found = sums[0] / static_cast<double>(pixels);
        __syncthreads();
        if (threadIdx.x == 0) genfuse::store(args.out, genfuse::place(args.out, 2 * channel + pass), found);
        if (pass == 0) mean = found;
    }
}
