#include <algorithm>

#include "genfuse/conv_norm_act.h"
#include "genfuse/unit.h"

// Step 2: h lies in a float32 image with its border around it, so that no tap asks whether it is outside, and
// a row of outputs takes one weight times a row of h after the other, which the compiler makes vectors of.
// What is left: each product loads and stores its sum, and h is read again for every output channel.

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    if (s.transposed || args.weight.axes != 4) return "transposed convolutions and sequences";
    if (s.stride[0] * s.stride[1] * s.dilation[0] * s.dilation[1] != 1) return "strides and dilation";
    if (s.upsample[0] * s.upsample[1] * s.pool[0] * s.pool[1] != 1) return "upsampling and pooling";
    if (s.padding_mode != GENFUSE_PADDING_MODE_ZEROS || args.residual_weight.data)
        return "borders, projections";
    const genfuse::Unit<genfuse_args> unit(args, args.skip);
    const int64_t taps_h = args.weight.size[2], taps_w = args.weight.size[3], outputs = args.out.size[1];
    const int64_t height = args.out.size[2], width = args.out.size[3], inputs = unit.channels / s.groups;
    const int64_t wide = width + taps_w - 1, high = height + taps_h - 1;
    std::vector<float> image(static_cast<size_t>(unit.channels * high * wide));
    for (int64_t n = 0; n < args.x.size[0]; ++n) {
        std::fill(image.begin(), image.end(), 0.0f);
        genfuse::parallel(args.threads, unit.channels, [&](int64_t begin, int64_t end) {
            std::vector<double> channel(static_cast<size_t>(unit.height * unit.width));
            for (int64_t c = begin; c < end; ++c) {
                unit.read(n, c, channel.data());
                for (int64_t h = 0; h < unit.height && h + s.padding[0] < high; ++h)
                    for (int64_t w = 0; w < unit.width && w + s.padding[1] < wide; ++w)
                        image[static_cast<size_t>((c * high + h + s.padding[0]) * wide + w + s.padding[1])] =
                            static_cast<float>(channel[static_cast<size_t>(h * unit.width + w)]);
            }
        });
        genfuse::parallel(args.threads, outputs, [&](int64_t begin, int64_t end) {
            std::vector<float> row(static_cast<size_t>(width));
            for (int64_t k = begin; k < end; ++k) {
                const int64_t first = k / (outputs / s.groups) * inputs;
                double mean = 0, squares = 0, count = 0;
                for (int64_t h = 0; h < height; ++h) {
                    std::fill(row.begin(), row.end(), 0.0f);
                    for (int64_t c = 0; c < inputs; ++c)
                        for (int64_t i = 0; i < taps_h; ++i)
                            for (int64_t j = 0; j < taps_w; ++j) {
                                const auto at = genfuse::at(args.weight, k, c, i, j);
                                const float weight = static_cast<float>(genfuse::load(args.weight, at));
                                const float* from = image.data() + ((first + c) * high + h + i) * wide + j;
                                for (int64_t w = 0; w < width; ++w)
                                    row[static_cast<size_t>(w)] += weight * from[w];
                            }
                    const double added =
                        genfuse::of_channel(args.bias, n, k, 0) + genfuse::of_channel(args.shift, n, k, 0);
                    for (int64_t w = 0; w < width; ++w) {
                        double v = row[static_cast<size_t>(w)] + added;
                        if (args.residual.data)
                            v += genfuse::load(args.residual, genfuse::at(args.residual, n, k, h, w));
                        v = genfuse::activated(v * s.scale, s.out_activation, s.negative_slope);
                        genfuse::store(args.out, genfuse::at(args.out, n, k, h, w), v);
                        const double off = v - mean;  // Welford
                        mean += off / ++count;
                        squares += off * (v - mean);
                    }
                }
                if (!args.stats_out.data) continue;
                genfuse::store(args.stats_out, genfuse::place(args.stats_out, 2 * (n * outputs + k)), mean);
                genfuse::store(args.stats_out, genfuse::place(args.stats_out, 2 * (n * outputs + k) + 1),
                               squares / count);
            }
        });
    }
    return nullptr;
}
