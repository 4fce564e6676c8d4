#include "genfuse/bias_act.h"
// after it
#include "genfuse/activation.h"
// genfuse: dtypes=float32

// Step 3: the activation is chosen once a run, and its loop is one that the compiler makes vectors of. What
// genfuse's own adds: exponentials and the error function in vectors, half precision, channels last, runs of
// several small planes, threads that are there already.

namespace {

struct Run {
    const float *from, *noise;  // noise NULL: none
    float* to;
    int64_t count;
    float scale, bias, gain, clamp;

    template <class Activation>
    void through(const Activation& activation) const {
        for (int64_t i = 0; i < count; ++i) {
            const float v = activation(from[i] * scale + bias + (noise ? noise[i] : 0.0f)) * gain;
            to[i] = v > clamp ? clamp : v < -clamp ? -clamp : v;
        }
    }
};

void run(const Run& of, int64_t kind, float slope) {
    switch (kind) {
        case GENFUSE_ACTIVATION_NONE:
            return of.through([](float v) { return v; });
        case GENFUSE_ACTIVATION_RELU:
            return of.through([](float v) { return v < 0 ? 0 : v; });
        case GENFUSE_ACTIVATION_LEAKY_RELU:
            return of.through([slope](float v) { return v < 0 ? v * slope : v; });
        case GENFUSE_ACTIVATION_ELU:
            return of.through([](float v) { return v > 0 ? v : expm1f(v); });
        case GENFUSE_ACTIVATION_SELU:
            return of.through([](float v) { return 1.05070099f * (v > 0 ? v : 1.67326324f * expm1f(v)); });
        default:
            return of.through(
                [=](float v) { return static_cast<float>(genfuse::activated(v, kind, slope)); });
    }
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
            const float* noise = static_cast<const float*>(args.noise.data);
            if (noise && args.noise.size[0] > 1) noise += n * inner;
            const int64_t at = n * args.scale.stride[0] + channel * args.scale.stride[1];
            const double scale = args.scale.data ? genfuse::load(args.scale, at) : 1;
            const double bias = args.bias.data ? genfuse::load(args.bias, channel * args.bias.stride[0]) : 0;
            run({static_cast<const float*>(x.data) + r * inner, noise,
                 static_cast<float*>(args.out.data) + r * inner, inner, static_cast<float>(scale),
                 static_cast<float>(bias), static_cast<float>(s.gain), static_cast<float>(s.clamp)},
                s.activation, static_cast<float>(s.negative_slope));
        }
    });
    return nullptr;
}
