#include "genfuse/bias_act.h"
// after it
#include "genfuse/activation.h"
// genfuse: dtypes=float32

// Step 2: what lies behind the channels' axis is a run of memory with one bias and one scale. What is left:
// the activation is asked for by every element, in float64, so that nothing is a vector.

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
    if (!genfuse::contiguous(x) || !genfuse::contiguous(args.out)) return "memory that is not contiguous";
    if (args.noise.data && (!genfuse::contiguous(args.noise) || args.noise.dtype != GENFUSE_FLOAT32))
        return "noise that is not contiguous float32";
    int64_t inner = 1;  // elements behind the channels' axis
    for (int i = x.axes - 1; i > s.dim; --i) inner *= x.size[i];
    const int64_t runs = inner ? genfuse::numel(x) / inner : 0;
    genfuse::parallel(args.threads, runs, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
            const int64_t channel = r % x.size[s.dim], n = r / x.size[s.dim];
            const float* from = static_cast<const float*>(x.data) + r * inner;
            float* to = static_cast<float*>(args.out.data) + r * inner;
            const float* noise = static_cast<const float*>(args.noise.data);
            if (noise && args.noise.size[0] > 1) noise += n * inner;
            const int64_t at = n * args.scale.stride[0] + channel * args.scale.stride[1];
            const double scale = args.scale.data ? genfuse::load(args.scale, at) : 1;
            const double bias = args.bias.data ? genfuse::load(args.bias, channel * args.bias.stride[0]) : 0;
            for (int64_t i = 0; i < inner; ++i) {
                const double v = from[i] * scale + bias + (noise ? noise[i] : 0);
                const double made = activated(v, s.activation, s.negative_slope) * s.gain;
                to[i] = static_cast<float>(made > s.clamp ? s.clamp : made < -s.clamp ? -s.clamp : made);
            }
        }
    });
    return nullptr;
}
