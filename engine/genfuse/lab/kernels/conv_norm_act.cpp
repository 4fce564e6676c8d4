#include "genfuse/conv_norm_act.h"

// A unit as its contract says it: the input is normalised and activated once, into memory of its own, and each output is
// a sum over channels and taps. What is to be gained: no image in between, weights in registers, Winograd.

namespace {

double activated(double v, int64_t kind, double slope) {
    switch (kind) {
        case GENFUSE_ACTIVATION_RELU: return v < 0 ? 0 : v;
        case GENFUSE_ACTIVATION_LEAKY_RELU: return v < 0 ? v * slope : v;
        case GENFUSE_ACTIVATION_SILU: return v / (1 + exp(-v));
        case GENFUSE_ACTIVATION_GELU: return 0.5 * v * (1 + erf(v * 0.7071067811865476));
        case GENFUSE_ACTIVATION_GELU_TANH:
            return 0.5 * v * (1 + tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
        case GENFUSE_ACTIVATION_TANH: return tanh(v);
        case GENFUSE_ACTIVATION_SIGMOID: return 1 / (1 + exp(-v));
        case GENFUSE_ACTIVATION_SOFTPLUS: return v > 20 ? v : log1p(exp(v));
        default: return v;
    }
}

// A number a channel, (C,) or (N, C).
double of_channel(const genfuse_tensor& t, int64_t n, int64_t c, double absent) {
    if (!t.data) return absent;
    return genfuse::load(t, t.axes == 2 ? n * t.stride[0] + c * t.stride[1] : c * t.stride[0]);
}

struct Unit {
    const genfuse_args& a;
    int64_t channels, height, width;  // of x and skip together

    double input(int64_t n, int64_t c, int64_t h, int64_t w) const {
        const bool first = c < a.x.size[1];
        const genfuse_tensor& t = first ? a.x : a.skip;
        return genfuse::load(t, genfuse::at(t, n, first ? c : c - a.x.size[1], h, w));
    }
    // Sum over a range of samples and channels, two passes: mean, then squares about it.
    void moments(int64_t n0, int64_t n1, int64_t c0, int64_t c1, double* mean, double* variance) const {
        const double count = static_cast<double>((n1 - n0) * (c1 - c0) * height * width);
        *mean = *variance = 0;
        if (a.stats.data) {  // of each channel, as the unit before measured them
            const double parts = static_cast<double>((n1 - n0) * (c1 - c0));
            for (int pass = 0; pass < 2; ++pass)
                for (int64_t n = n0; n < n1; ++n)
                    for (int64_t c = c0; c < c1; ++c) {
                        const int64_t at = n * a.stats.stride[0] + c * a.stats.stride[1];
                        const double m = genfuse::load(a.stats, at), off = m - *mean;
                        if (pass == 0) *mean += m / parts;
                        else *variance += (genfuse::load(a.stats, at + a.stats.stride[2]) + off * off) / parts;
                    }
            return;
        }
        for (int pass = 0; pass < 2; ++pass)
            for (int64_t n = n0; n < n1; ++n)
                for (int64_t c = c0; c < c1; ++c)
                    for (int64_t p = 0; p < height * width; ++p) {
                        const double v = input(n, c, p / width, p % width);
                        if (pass == 0) *mean += v / count;
                        else *variance += (v - *mean) * (v - *mean) / count;
                    }
    }
    void of_pixel(int64_t n, int64_t p, double* mean, double* variance) const {
        *mean = *variance = 0;
        const double count = static_cast<double>(channels);
        if (a.settings.norm == GENFUSE_NORM_LAYER_PIXEL)
            for (int64_t c = 0; c < channels; ++c) *mean += input(n, c, p / width, p % width) / count;
        for (int64_t c = 0; c < channels; ++c) {
            const double off = input(n, c, p / width, p % width) - *mean;
            *variance += off * off / count;
        }
    }
    // Channel c of sample n, normalised, activated and masked, behind to.
    void read(int64_t n, int64_t c, double* to) const {
        const genfuse_settings& s = a.settings;
        double mean = 0, variance = 1 - s.eps;
        const bool by_pixel = s.norm == GENFUSE_NORM_LAYER_PIXEL || s.norm == GENFUSE_NORM_RMS_PIXEL;
        const int64_t size = s.norm == GENFUSE_NORM_GROUP ? channels / s.num_groups : 1, group = c / size * size;
        if (s.norm == GENFUSE_NORM_BATCH && a.running_mean.data) {
            mean = of_channel(a.running_mean, n, c, 0), variance = of_channel(a.running_var, n, c, 1);
        } else if (s.norm == GENFUSE_NORM_BATCH) {
            moments(0, a.x.size[0], c, c + 1, &mean, &variance);
        } else if (s.norm == GENFUSE_NORM_LAYER) {
            moments(n, n + 1, 0, channels, &mean, &variance);
        } else if (s.norm == GENFUSE_NORM_GROUP || s.norm == GENFUSE_NORM_INSTANCE) {
            moments(n, n + 1, group, group + size, &mean, &variance);
        }
        const double weight = of_channel(a.norm_weight, n, c, 1), bias = of_channel(a.norm_bias, n, c, 0);
        const double factor = 1 + of_channel(a.film_scale, n, c, 0), film = of_channel(a.film_shift, n, c, 0);
        for (int64_t p = 0; p < height * width; ++p) {
            if (by_pixel) of_pixel(n, p, &mean, &variance);
            double v = input(n, c, p / width, p % width);
            if (s.norm != GENFUSE_NORM_NONE) v = (v - mean) / sqrt(variance + s.eps);
            v = activated((v * weight + bias) * factor + film, s.activation, s.negative_slope);
            to[p] = v * kept(n, c * height * width + p);
        }
    }
    double kept(int64_t n, int64_t element) const {
        const double share = a.settings.dropout;
        if (share == 0 || !a.seeds.data) return 1;
        const int64_t seed = static_cast<const int64_t*>(a.seeds.data)[n * a.seeds.stride[0]];
        uint32_t w[4];
        genfuse::philox(static_cast<uint64_t>(seed), static_cast<uint64_t>(element / 4),
                        static_cast<uint32_t>(a.settings.dropout_stream), 3, w);
        return genfuse::uniform(w[element % 4]) >= share ? 1 / (1 - share) : 0;
    }
};

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
        sum += genfuse::load(a.residual_weight, genfuse::at(a.residual_weight, k, r, 0, 0)) * genfuse::load(t, from);
    }
    return sum;
}

// One output before its pooling; h is sample n's image.
double output(const genfuse_args& a, const Unit& u, const double* image, int64_t n, int64_t k, int64_t h, int64_t w) {
    const genfuse_settings& s = a.settings;
    const bool sequence = a.weight.axes == 3;
    const int64_t taps_h = sequence ? 1 : a.weight.size[2], taps_w = a.weight.size[sequence ? 2 : 3];
    const int64_t outputs = s.transposed ? a.weight.size[1] : a.weight.size[0] / s.groups, group = k / outputs;
    const int64_t inputs = u.channels / s.groups;
    double sum = of_channel(a.bias, n, k, 0);
    for (int64_t c = 0; c < inputs; ++c)
        for (int64_t i = 0; i < taps_h; ++i)
            for (int64_t j = 0; j < taps_w; ++j) {
                const int64_t y = source(s, 0, h, i, u.height), x = source(s, 1, w, j, u.width);
                if (y < 0 || x < 0) continue;
                const int64_t first = s.transposed ? group * inputs + c : k, second = s.transposed ? k % outputs : c;
                const int64_t tap = sequence ? j * a.weight.stride[2] : i * a.weight.stride[2] + j * a.weight.stride[3];
                const int64_t at = first * a.weight.stride[0] + second * a.weight.stride[1] + tap;
                sum += genfuse::load(a.weight, at) * image[((group * inputs + c) * u.height + y) * u.width + x];
            }
    sum += of_channel(a.shift, n, k, 0) + projected(a, n, k, h, w);
    return activated(sum * s.scale, s.out_activation, s.negative_slope);
}

}  // namespace

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const Unit unit{args, args.x.size[1] + (args.skip.data ? args.skip.size[1] : 0), args.x.size[2], args.x.size[3]};
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
                    genfuse::store(args.out, genfuse::at(args.out, n, k, p / width, p % width), made[static_cast<size_t>(p)]);
                    mean += made[static_cast<size_t>(p)] / static_cast<double>(height * width);
                }
                if (!args.stats_out.data) continue;
                for (double v : made) variance += (v - mean) * (v - mean) / static_cast<double>(height * width);
                const int64_t at = n * args.stats_out.stride[0] + k * args.stats_out.stride[1];
                genfuse::store(args.stats_out, at, mean);
                genfuse::store(args.stats_out, at + args.stats_out.stride[2], variance);
            }
        });
    }
    return nullptr;
}
