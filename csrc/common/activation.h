// Activation functions on vectors of float32; absolute error below 3e-7·max(1, |x|), NaN where x is NaN.
#pragma once

#include "common/activations.h"
#include "common/box_muller.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// eˣ, relative error 1e-7: infinite from 88.4 on, and e⁻⁸⁷ below −87.
GENFUSE_INLINE f32 exponential(f32 x) {
    static const float kExp[] = {1.0f,          1.000000038f,    0.5000000047f,  0.1666641551f,
                                 0.0416663529f, 0.008375126398f, 0.001394110843f};  // 2e-9 on ±½ ln 2
    const f32 bounded = clamp(x, broadcast<f32>(-87.0f), broadcast<f32>(88.8f));
    const f32 shift = broadcast<f32>(0x1.8p23f);
    const f32 shifted = fma(bounded, broadcast<f32>(1.44269504f), shift);
    const f32 n = shifted - shift;
    f32 r = fma(n, broadcast<f32>(-0.693359375f), bounded);  // ln 2 in two parts: the first product is exact
    r = fma(n, broadcast<f32>(2.12194440e-4f), r);
    const i32 power = (reinterpret_cast<i32>(shifted) - reinterpret_cast<i32>(shift) + 127) << 23;
    return polynomial(r, kExp) * reinterpret_cast<f32>(power);
}

GENFUSE_INLINE f32 magnitude(f32 x) {
    return reinterpret_cast<f32>(reinterpret_cast<i32>(x) & 0x7FFFFFFF);
}

GENFUSE_INLINE f32 with_sign_of(f32 value, f32 sign) {
    return reinterpret_cast<f32>(reinterpret_cast<i32>(value) | (reinterpret_cast<i32>(sign) & ~0x7FFFFFFF));
}

GENFUSE_INLINE f32 hyperbolic_tangent(f32 x) {
    static const float kTanh[] = {0.999999996f,    -0.3333325986f, 0.1333111406f,
                                  -0.05372010766f, 0.02058819145f, -0.005657135184f};  // 4e-9, x² up to 0.39
    const f32 a = magnitude(x);
    const f32 small = a * polynomial(a * a, kTanh);
    const f32 large = 1.0f - 2.0f / (exponential(2.0f * a) + 1.0f);
    return with_sign_of(a < 0.625f ? small : large, x);
}

GENFUSE_INLINE f32 error_function(f32 x) {
    static const float kNear[] = {1.128379126f,    -0.3761234378f,  0.1128031665f,
                                  -0.02671505423f, 0.004921762028f, -0.0005648059866f};  // 4e-8, x² up to 1
    static const float kFar[] = {-0.0003293570892f, 1.130272075f,    0.6317575505f,    0.1101471795f,
                                 -0.02646087915f,   0.004774191028f, -0.000600055479f, 4.645992365e-5f,
                                 -1.658320522e-6f};  // −ln erfc, 1e-8 to 3.95
    const f32 a = magnitude(x);
    const f32 near = a * polynomial(a * a, kNear);
    const f32 bounded = a > 3.95f ? broadcast<f32>(3.95f) : a;  // 1 − erf is 2e-8 there
    const f32 far = 1.0f - exponential(-polynomial(bounded, kFar));
    return with_sign_of(a < 1.0f ? near : far, x);
}

// ln(1 + eˣ), for any x.
GENFUSE_INLINE f32 soft_plus(f32 x) {
    static const float kAtanh[] = {2.000000008f, 0.6666632164f, 0.4002459523f, 0.2796515775f,
                                   0.2815777836f};  // 2·atanh(s)/s in s² up to ⅑, 8e-9
    const f32 u = exponential(-magnitude(x));
    const f32 s = u / (2.0f + u);
    const f32 positive = x < 0.0f ? f32{} : x;
    return positive + s * polynomial(s * s, kAtanh);
}

template <int kind>
GENFUSE_INLINE f32 activated(f32 x, f32 slope) {
    if (kind == GENFUSE_RELU) return x < 0.0f ? f32{} : x;
    if (kind == GENFUSE_LEAKY_RELU) return x < 0.0f ? x * slope : x;
    if (kind == GENFUSE_SILU) return x / (1.0f + exponential(-x));
    if (kind == GENFUSE_GELU) return 0.5f * x * (1.0f + error_function(x * 0.707106781f));
    if (kind == GENFUSE_GELU_TANH) {
        const f32 cubic = x * fma(x * x, broadcast<f32>(0.0713548163f), broadcast<f32>(1.5957691216f));
        return x / (1.0f + exponential(-cubic));  // ½(1 + tanh u) = 1/(1 + e^−2u)
    }
    if (kind == GENFUSE_TANH) return hyperbolic_tangent(x);
    if (kind == GENFUSE_SIGMOID) return 1.0f / (1.0f + exponential(-x));
    if (kind == GENFUSE_SOFTPLUS) return soft_plus(x);
    return x;
}

template <int kind>
void activate_run(float* values, int64_t count, float slope) {
    const f32 slopes = broadcast<f32>(slope);
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        store(values + i, activated<kind>(load<f32>(values + i), slopes));
    }
}

// In place; the last vector is worked on whole.
inline void activate(int kind, float slope, float* values, int64_t count) {
    switch (kind) {
        case GENFUSE_RELU:
            return activate_run<GENFUSE_RELU>(values, count, slope);
        case GENFUSE_LEAKY_RELU:
            return activate_run<GENFUSE_LEAKY_RELU>(values, count, slope);
        case GENFUSE_SILU:
            return activate_run<GENFUSE_SILU>(values, count, slope);
        case GENFUSE_GELU:
            return activate_run<GENFUSE_GELU>(values, count, slope);
        case GENFUSE_GELU_TANH:
            return activate_run<GENFUSE_GELU_TANH>(values, count, slope);
        case GENFUSE_TANH:
            return activate_run<GENFUSE_TANH>(values, count, slope);
        case GENFUSE_SIGMOID:
            return activate_run<GENFUSE_SIGMOID>(values, count, slope);
        case GENFUSE_SOFTPLUS:
            return activate_run<GENFUSE_SOFTPLUS>(values, count, slope);
        default:
            return;
    }
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
