#include <algorithm>

#include "genfuse/conv_norm_act.h"
#include "genfuse/unit.h"

// Step 3: eight output channels times sixteen pixels are sums in registers, so that a load of h serves eight
// products and no sum goes through memory; weights are float32 in the order in which they are read. What
// genfuse's own adds: the prologue in vectors while the convolution reads, statistics once a group, Winograd,
// and blocks that fit the caches.

namespace {

constexpr int kChannels = 8, kPixels = 16;
typedef float Pixels __attribute__((vector_size(4 * kPixels)));

// Sums of a block; weights in the order (c, i, j, channel of the block).
void block(Pixels* to, const float* weights, const float* image, int64_t inputs, int64_t taps_h,
           int64_t taps_w, int64_t plane, int64_t wide) {
    Pixels sum[kChannels] = {};
    for (int64_t c = 0; c < inputs; ++c)
        for (int64_t i = 0; i < taps_h; ++i)
            for (int64_t j = 0; j < taps_w; ++j, weights += kChannels) {
                Pixels from;
                memcpy(&from, image + c * plane + i * wide + j, sizeof(from));
                for (int k = 0; k < kChannels; ++k) sum[k] += weights[k] * from;
            }
    memcpy(to, sum, sizeof(sum));
}

}  // namespace

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
    const int64_t per_group = outputs / s.groups, of_group = (per_group + kChannels - 1) / kChannels;
    const int64_t blocks = s.groups * of_group;
    std::vector<float> packed(static_cast<size_t>(blocks * inputs * taps_h * taps_w * kChannels));
    for (int64_t b = 0, at = 0; b < blocks; ++b)
        for (int64_t t = 0; t < inputs * taps_h * taps_w; ++t)
            for (int64_t k = 0; k < kChannels; ++k, ++at) {
                const int64_t inside = b % of_group * kChannels + k, c = t / (taps_h * taps_w);
                if (inside >= per_group) continue;
                const int64_t from = genfuse::at(args.weight, b / of_group * per_group + inside, c,
                                                 t / taps_w % taps_h, t % taps_w);
                packed[static_cast<size_t>(at)] = static_cast<float>(genfuse::load(args.weight, from));
            }
    std::vector<float> image(
        static_cast<size_t>(unit.channels * high * wide + kPixels));  // a last block reads on
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
        genfuse::parallel(args.threads, blocks, [&](int64_t begin, int64_t end) {
            for (int64_t b = begin; b < end; ++b) {
                const int64_t group = b / of_group, k0 = group * per_group + b % of_group * kChannels;
                const int64_t channels = std::min<int64_t>(kChannels, (group + 1) * per_group - k0);
                const float* from = image.data() + group * inputs * high * wide;
                double mean[kChannels] = {}, squares[kChannels] = {}, count = 0;
                for (int64_t p = 0; p < height * ((width + kPixels - 1) / kPixels); ++p) {
                    const int64_t pieces = (width + kPixels - 1) / kPixels, h = p / pieces,
                                  w0 = p % pieces * kPixels;
                    const int64_t pixels = std::min<int64_t>(kPixels, width - w0);
                    Pixels sum[kChannels];
                    block(sum, packed.data() + b * inputs * taps_h * taps_w * kChannels, from + h * wide + w0,
                          inputs, taps_h, taps_w, high * wide, wide);
                    for (int64_t w = w0; w < w0 + pixels; ++w) {
                        ++count;
                        for (int64_t k = 0; k < channels; ++k) {
                            double v = sum[k][w - w0] + genfuse::of_channel(args.bias, n, k0 + k, 0) +
                                       genfuse::of_channel(args.shift, n, k0 + k, 0);
                            if (args.residual.data)
                                v +=
                                    genfuse::load(args.residual, genfuse::at(args.residual, n, k0 + k, h, w));
                            v = genfuse::activated(v * s.scale, s.out_activation, s.negative_slope);
                            genfuse::store(args.out, genfuse::at(args.out, n, k0 + k, h, w), v);
                            const double off = v - mean[k];  // Welford
                            mean[k] += off / count;
                            squares[k] += off * (v - mean[k]);
                        }
                    }
                }
                for (int64_t k = 0; k < channels && args.stats_out.data; ++k) {
                    const int64_t at = 2 * (n * outputs + k0 + k);
                    genfuse::store(args.stats_out, genfuse::place(args.stats_out, at), mean[k]);
                    genfuse::store(args.stats_out, genfuse::place(args.stats_out, at + 1),
                                   squares[k] / count);
                }
            }
        });
    }
    return nullptr;
}
