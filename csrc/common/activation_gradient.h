// Derivatives of the activation functions on vectors of float32; absolute error below 4e-7, NaN where x is
// NaN. Arguments are bounded where the derivative has reached its limit, so that nothing overflows on the way
// to it.
#pragma once

#include <type_traits>

#include "common/activation.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

GENFUSE_INLINE f32 bounded(f32 x, float bound) {
    return clamp(x, broadcast<f32>(-bound), broadcast<f32>(bound));
}

// s + slope·s·(1 − s) with s = 1/(1 + e⁻ᵘ): of u = x for SiLU; 1 − s as e⁻ᵘ·s, which cancels nothing.
GENFUSE_INLINE f32 gated_gradient(f32 u, f32 slope) {
    const f32 e = exponential(-u);
    const f32 s = 1.0f / (1.0f + e);
    return fma(slope * s, e * s, s);
}

template <int kind>
GENFUSE_INLINE f32 activation_gradient(f32 x, f32 slope) {
    if (kind == GENFUSE_RELU) return x > 0.0f ? broadcast<f32>(1.0f) : x < 0.0f ? f32{} : x;
    if (kind == GENFUSE_LEAKY_RELU) return x > 0.0f ? broadcast<f32>(1.0f) : x <= 0.0f ? slope : x;
    if (kind == GENFUSE_SILU) {
        const f32 b = bounded(x, 87.0f);
        return gated_gradient(b, b);
    }
    if (kind == GENFUSE_GELU) {  // Φ(x) + x·φ(x)
        const f32 b = bounded(x, 13.0f);
        const f32 density = 0.398942280f * exponential(-0.5f * b * b);
        return fma(b, density, 0.5f + 0.5f * error_function(b * 0.707106781f));
    }
    if (kind == GENFUSE_GELU_TANH) {
        const f32 b = bounded(x, 9.9f), square = b * b;
        const f32 u = b * fma(square, broadcast<f32>(0.0713548163f), broadcast<f32>(1.5957691216f));
        return gated_gradient(u,
                              b * fma(square, broadcast<f32>(0.2140644488f), broadcast<f32>(1.5957691216f)));
    }
    if (kind == GENFUSE_TANH) {  // 4·s·(1 − s) with s of 2x
        const f32 e = exponential(-2.0f * magnitude(x));
        const f32 s = 2.0f / (1.0f + e);
        return e * s * s;
    }
    if (kind == GENFUSE_SIGMOID) {
        const f32 e = exponential(-magnitude(x));
        const f32 s = 1.0f / (1.0f + e);
        return e * s * s;
    }
    if (kind == GENFUSE_SOFTPLUS) return activated<GENFUSE_SIGMOID>(x, slope);
    return broadcast<f32>(1.0f);
}

// run(number) with the activation's number as a type, so that what it calls is compiled for each.
template <class Run>
void with_activation(int kind, Run run) {
    switch (kind) {
        case GENFUSE_RELU:
            return run(std::integral_constant<int, GENFUSE_RELU>{});
        case GENFUSE_LEAKY_RELU:
            return run(std::integral_constant<int, GENFUSE_LEAKY_RELU>{});
        case GENFUSE_SILU:
            return run(std::integral_constant<int, GENFUSE_SILU>{});
        case GENFUSE_GELU:
            return run(std::integral_constant<int, GENFUSE_GELU>{});
        case GENFUSE_GELU_TANH:
            return run(std::integral_constant<int, GENFUSE_GELU_TANH>{});
        case GENFUSE_TANH:
            return run(std::integral_constant<int, GENFUSE_TANH>{});
        case GENFUSE_SIGMOID:
            return run(std::integral_constant<int, GENFUSE_SIGMOID>{});
        case GENFUSE_SOFTPLUS:
            return run(std::integral_constant<int, GENFUSE_SOFTPLUS>{});
        default:
            return run(std::integral_constant<int, GENFUSE_IDENTITY>{});
    }
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
