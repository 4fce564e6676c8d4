/* What a unit does around its convolution, element by element, for kernels of conv_norm_act and norm_act.
 *
 * Included behind the op's own header. Written to be read and replaced, not to be fast.
 */
#pragma once

#include "genfuse/activation.h"

namespace genfuse {

// A number a channel, (C,) or (N, C).
inline double of_channel(const genfuse_tensor& t, int64_t n, int64_t c, double absent) {
    if (!t.data) return absent;
    return genfuse::load(t, t.axes == 2 ? n * t.stride[0] + c * t.stride[1] : c * t.stride[0]);
}

// The part of a unit that stands before its convolution: x, and skip behind it along the channels, as it is
// read.
template <class Args>
struct Unit {
    const Args& a;
    genfuse_tensor skip;              // data NULL: there is none
    int64_t channels, height, width;  // of x and skip together

    Unit(const Args& args, const genfuse_tensor& beside)
        : a(args),
          skip(beside),
          channels(args.x.size[1] + (beside.data ? beside.size[1] : 0)),
          height(args.x.size[2]),
          width(args.x.size[3]) {}

    double input(int64_t n, int64_t c, int64_t h, int64_t w) const {
        const bool first = c < a.x.size[1];
        const genfuse_tensor& t = first ? a.x : skip;
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
                        if (pass == 0)
                            *mean += m / parts;
                        else
                            *variance += (genfuse::load(a.stats, at + a.stats.stride[2]) + off * off) / parts;
                    }
            return;
        }
        for (int pass = 0; pass < 2; ++pass)
            for (int64_t n = n0; n < n1; ++n)
                for (int64_t c = c0; c < c1; ++c)
                    for (int64_t p = 0; p < height * width; ++p) {
                        const double v = input(n, c, p / width, p % width);
                        if (pass == 0)
                            *mean += v / count;
                        else
                            *variance += (v - *mean) * (v - *mean) / count;
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
        const int64_t size = s.norm == GENFUSE_NORM_GROUP ? channels / s.num_groups : 1,
                      group = c / size * size;
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
    // What dropout makes of an element: 0, or 1/(1 - p).
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

}  // namespace genfuse
