#include "genfuse/timestep_embedding.h"

// Step 2: frequencies once a call, and sine and cosine of an angle together. What genfuse's own adds: nothing
// but a shorter way from Python.

GENFUSE_KERNEL(args) {
    const int64_t channels = args.out.size[1], half = channels / 2;
    std::vector<double> frequencies;
    for (int64_t i = 0; i < half; ++i)
        frequencies.push_back(exp(-log(args.max_period) * static_cast<double>(i) /
                                  (static_cast<double>(half) - args.downscale_freq_shift)));
    const int64_t sines = args.flip_sin_to_cos ? half : 0, cosines = half - sines;
    for (int64_t n = 0; n < args.out.size[0]; ++n) {
        const double t = args.scale * genfuse::load(args.t, n * args.t.stride[0]);
        const auto put = [&](int64_t channel, double value) {
            genfuse::store(args.out, genfuse::place(args.out, n * channels + channel), value);
        };
        for (int64_t i = 0; i < half; ++i) {
            const double angle = t * frequencies[static_cast<size_t>(i)];
            put(sines + i, sin(angle)), put(cosines + i, cos(angle));
        }
        if (channels % 2) put(channels - 1, 0);
    }
    return nullptr;
}
