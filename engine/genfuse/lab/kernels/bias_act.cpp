#include "genfuse/bias_act.h"
// after it
#include "genfuse/activation.h"

// Element by element, its place computed anew. What is to be gained: runs of one channel, vectors.

namespace {

double activated(double v, int64_t kind, double slope) {
    if (kind == GENFUSE_ACTIVATION_ELU) return v > 0 ? v : expm1(v);
    if (kind == GENFUSE_ACTIVATION_SELU)
        return 1.0507009873554805 * (v > 0 ? v : 1.6732632423543772 * expm1(v));
    return genfuse::activated(v, kind, slope);
}

}  // namespace

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const genfuse_tensor& x = args.x;
    int64_t inner = 1;  // elements behind the channels' axis
    for (int i = x.axes - 1; i > s.dim; --i) inner *= x.size[i];
    genfuse::parallel(args.threads, genfuse::numel(x), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t channel = i / inner % x.size[s.dim], n = i / (inner * x.size[s.dim]);
            double v = genfuse::load(x, genfuse::place(x, i));
            if (args.scale.data)
                v *= genfuse::load(args.scale, n * args.scale.stride[0] + channel * args.scale.stride[1]);
            if (args.noise.data) {
                const int64_t of = args.noise.size[0] == 1 ? 0 : n;
                v += genfuse::load(args.noise, genfuse::place(args.noise, of * inner + i % inner));
            }
            if (args.bias.data) v += genfuse::load(args.bias, channel * args.bias.stride[0]);
            v = activated(v, s.activation, s.negative_slope) * s.gain;
            if (v > s.clamp) v = s.clamp;
            if (v < -s.clamp) v = -s.clamp;
            genfuse::store(args.out, genfuse::place(args.out, i), v);
        }
    });
    return nullptr;
}
