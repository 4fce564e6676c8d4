#include "genfuse/timestep_embedding.h"
// genfuse: threads=128

// A thread a number. What is to be gained: sine and cosine of an angle at once.

GENFUSE_KERNEL(args) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * GENFUSE_THREADS + threadIdx.x;
    if (i >= genfuse::numel(args.out)) return;
    const int64_t channels = args.out.size[1], half = channels / 2, channel = i % channels;
    const double width = static_cast<double>(half) - args.downscale_freq_shift;
    const double frequency =
        exp(-log(args.max_period) * static_cast<double>(channel % (half ? half : 1)) / width);
    const double angle = args.scale * genfuse::load(args.t, i / channels * args.t.stride[0]) * frequency;
    const bool cosine = (channel < half) == (args.flip_sin_to_cos != 0);
    const double value = channel >= 2 * half ? 0 : cosine ? cos(angle) : sin(angle);
    genfuse::store(args.out, genfuse::place(args.out, i), value);
}
