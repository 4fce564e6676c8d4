#include "genfuse/timestep_embedding.h"

// Each number on its own: a sine or a cosine, and a power. What is to be gained: frequencies once, both of an
// angle.

GENFUSE_KERNEL(args) {
    const int64_t channels = args.out.size[1], half = channels / 2;
    for (int64_t i = 0; i < genfuse::numel(args.out); ++i) {
        const int64_t channel = i % channels, at = i / channels * args.t.stride[0];
        const double width = static_cast<double>(half) - args.downscale_freq_shift;
        const double frequency =
            exp(-log(args.max_period) * static_cast<double>(channel % (half ? half : 1)) / width);
        const double angle = args.scale * genfuse::load(args.t, at) * frequency;
        const bool cosine = (channel < half) == (args.flip_sin_to_cos != 0);
        const double value = channel >= 2 * half ? 0 : cosine ? cos(angle) : sin(angle);
        genfuse::store(args.out, genfuse::place(args.out, i), value);
    }
    return nullptr;
}
