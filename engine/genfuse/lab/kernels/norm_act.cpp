#include "genfuse/norm_act.h"
// after it
#include "genfuse/unit.h"

// A channel at a time as its contract says it, its statistics measured anew for each. What is to be gained:
// statistics once a group, no image in between, vectors.

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const genfuse::Unit<genfuse_args> unit(args, genfuse_tensor{});
    const int64_t height = args.out.size[2], width = args.out.size[3], channels = unit.channels;
    const double pixels = static_cast<double>(height * width),
                 share = 1.0 / static_cast<double>(s.pool[0] * s.pool[1]);
    genfuse::parallel(args.threads, args.x.size[0] * channels, [&](int64_t begin, int64_t end) {
        std::vector<double> image(static_cast<size_t>(unit.height * unit.width)),
            made(static_cast<size_t>(height * width));
        for (int64_t i = begin; i < end; ++i) {
            const int64_t n = i / channels, c = i % channels;
            unit.read(n, c, image.data());
            double mean = 0, variance = 0;
            for (int64_t p = 0; p < height * width; ++p) {
                double sum = 0;
                for (int64_t q = 0; q < s.pool[0] * s.pool[1]; ++q) {
                    const int64_t h = p / width * s.pool[0] + q / s.pool[1],
                                  w = p % width * s.pool[1] + q % s.pool[1];
                    double v = image[static_cast<size_t>(h * unit.width + w)];
                    if (args.residual.data)
                        v += genfuse::load(args.residual, genfuse::at(args.residual, n, c, h, w));
                    sum += genfuse::activated(v * s.scale, s.out_activation, s.negative_slope);
                }
                made[static_cast<size_t>(p)] = sum * share;
                genfuse::store(args.out, genfuse::at(args.out, n, c, p / width, p % width), sum * share);
                mean += sum * share / pixels;
            }
            if (!args.stats_out.data) continue;
            for (double v : made) variance += (v - mean) * (v - mean) / pixels;
            genfuse::store(args.stats_out, genfuse::place(args.stats_out, 2 * i), mean);
            genfuse::store(args.stats_out, genfuse::place(args.stats_out, 2 * i + 1), variance);
        }
    });
    return nullptr;
}
