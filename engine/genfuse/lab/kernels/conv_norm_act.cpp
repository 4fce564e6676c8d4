#include "genfuse/conv_norm_act.h"
// after it
#include "genfuse/unit.h"

// A unit as its contract says it: the input is normalised and activated once, into memory of its own, and
// each output is a sum over channels and taps. What is to be gained: no image in between, weights in
// registers, Winograd.

namespace {

// The input row or column that tap `tap` of output `out` reads; -1: a border of zeros, or none.
int64_t source(const genfuse_settings& s, int axis, int64_t out, int64_t tap, int64_t size) {
    if (s.transposed) {
        const int64_t at = out + s.padding[axis] - tap * s.dilation[axis];
        return at >= 0 && at % s.stride[axis] == 0 && at / s.stride[axis] < size ? at / s.stride[axis] : -1;
    }
    const int64_t wide = size * s.upsample[axis];
    int64_t at = out * s.stride[axis] - s.padding[axis] + tap * s.dilation[axis];
    if (s.padding_mode == GENFUSE_PADDING_MODE_REFLECT) {
        at = at < 0 ? -at : at >= wide ? 2 * wide - 2 - at : at;
    } else if (s.padding_mode == GENFUSE_PADDING_MODE_CIRCULAR) {
        at = (at + wide) % wide;
    }
    return at < 0 || at >= wide ? -1 : at / s.upsample[axis];
}

double projected(const genfuse_args& a, int64_t n, int64_t k, int64_t h, int64_t w) {
    if (!a.residual.data) return 0;
    if (!a.residual_weight.data) return genfuse::load(a.residual, genfuse::at(a.residual, n, k, h, w));
    double sum = 0;
    for (int64_t r = 0; r < a.residual_weight.size[1]; ++r) {
        const bool first = r < a.residual.size[1];
        const genfuse_tensor& t = first ? a.residual : a.residual_skip;
        const int64_t from = genfuse::at(t, n, first ? r : r - a.residual.size[1], h, w);
        sum += genfuse::load(a.residual_weight, genfuse::at(a.residual_weight, k, r, 0, 0)) *
               genfuse::load(t, from);
    }
    return sum;
}

// One output before its pooling; h is sample n's image.
double output(const genfuse_args& a, const genfuse::Unit<genfuse_args>& u, const double* image, int64_t n,
              int64_t k, int64_t h, int64_t w) {
    const genfuse_settings& s = a.settings;
    const bool sequence = a.weight.axes == 3;
    const int64_t taps_h = sequence ? 1 : a.weight.size[2], taps_w = a.weight.size[sequence ? 2 : 3];
    const int64_t outputs = s.transposed ? a.weight.size[1] : a.weight.size[0] / s.groups,
                  group = k / outputs;
    const int64_t inputs = u.channels / s.groups;
    double sum = genfuse::of_channel(a.bias, n, k, 0);
    for (int64_t c = 0; c < inputs; ++c)
        for (int64_t i = 0; i < taps_h; ++i)
            for (int64_t j = 0; j < taps_w; ++j) {
                const int64_t y = source(s, 0, h, i, u.height), x = source(s, 1, w, j, u.width);
                if (y < 0 || x < 0) continue;
                const int64_t first = s.transposed ? group * inputs + c : k,
                              second = s.transposed ? k % outputs : c;
                const int64_t tap =
                    sequence ? j * a.weight.stride[2] : i * a.weight.stride[2] + j * a.weight.stride[3];
                const int64_t at = first * a.weight.stride[0] + second * a.weight.stride[1] + tap;
                sum +=
                    genfuse::load(a.weight, at) * image[((group * inputs + c) * u.height + y) * u.width + x];
            }
    sum += genfuse::of_channel(a.shift, n, k, 0) + projected(a, n, k, h, w);
    return genfuse::activated(sum * s.scale, s.out_activation, s.negative_slope);
}

}  // namespace

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const genfuse::Unit<genfuse_args> unit(args, args.skip);
    const int64_t samples = args.x.size[0], plane = unit.height * unit.width;
    const int64_t outputs = args.out.size[1], height = args.out.size[2], width = args.out.size[3];
    std::vector<double> image(static_cast<size_t>(unit.channels * plane));
    for (int64_t n = 0; n < samples; ++n) {
        genfuse::parallel(args.threads, unit.channels, [&](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; ++c) unit.read(n, c, image.data() + c * plane);
        });
        genfuse::parallel(args.threads, outputs, [&](int64_t begin, int64_t end) {
            std::vector<double> made(static_cast<size_t>(height * width));
            for (int64_t k = begin; k < end; ++k) {
                double mean = 0, variance = 0;
                for (int64_t p = 0; p < height * width; ++p) {
                    double sum = 0;
                    for (int64_t i = 0; i < s.pool[0] * s.pool[1]; ++i)
                        sum += output(args, unit, image.data(), n, k, p / width * s.pool[0] + i / s.pool[1],
                                      p % width * s.pool[1] + i % s.pool[1]);
                    made[static_cast<size_t>(p)] = sum / static_cast<double>(s.pool[0] * s.pool[1]);
                    genfuse::store(args.out, genfuse::at(args.out, n, k, p / width, p % width),
                                   made[static_cast<size_t>(p)]);
                    mean += made[static_cast<size_t>(p)] / static_cast<double>(height * width);
                }
                if (!args.stats_out.data) continue;
                for (double v : made)
                    variance += (v - mean) * (v - mean) / static_cast<double>(height * width);
                const int64_t at = n * args.stats_out.stride[0] + k * args.stats_out.stride[1];
                genfuse::store(args.stats_out, at, mean);
                genfuse::store(args.stats_out, at + args.stats_out.stride[2], variance);
            }
        });
    }
    return nullptr;
}
