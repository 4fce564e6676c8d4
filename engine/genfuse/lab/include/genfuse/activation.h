/* The activations that every op's settings name.
 *
 * Included behind the op's own header. Written to be read and replaced, not to be fast.
 */
#pragma once

namespace genfuse {

inline double activated(double v, int64_t kind, double slope) {
    switch (kind) {
        case GENFUSE_ACTIVATION_RELU:
            return v < 0 ? 0 : v;
        case GENFUSE_ACTIVATION_LEAKY_RELU:
            return v < 0 ? v * slope : v;
        case GENFUSE_ACTIVATION_SILU:
            return v / (1 + exp(-v));
        case GENFUSE_ACTIVATION_GELU:
            return 0.5 * v * (1 + erf(v * 0.7071067811865476));
        case GENFUSE_ACTIVATION_GELU_TANH:
            return 0.5 * v * (1 + tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
        case GENFUSE_ACTIVATION_TANH:
            return tanh(v);
        case GENFUSE_ACTIVATION_SIGMOID:
            return 1 / (1 + exp(-v));
        case GENFUSE_ACTIVATION_SOFTPLUS:
            return v > 20 ? v : log1p(exp(v));
        default:
            return v;
    }
}

}  // namespace genfuse
