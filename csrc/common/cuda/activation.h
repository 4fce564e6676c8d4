// Activations and their derivatives; absolute error below 4e-7·max(1, |x|), NaN where x is NaN. Compiled
// without local memory, as are the library's exponential, error function, tangent and logarithm.
#pragma once

#include "common/activations.h"
#include "common/cuda/fused.h"

namespace genfuse {

// 1/x for x of at least 1, within an ulp. One instruction; the plain twin is for the host.
#ifdef __CUDA_ARCH__
__device__ inline float reciprocal(float x) {
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(x));
    return inverse;
}
#else
inline float reciprocal(float x) {
    return 1.0f / x;
}
#endif

__device__ inline float sigmoid(float x) {
    return reciprocal(1.0f + expf(-x));
}

// The normal distribution's share below x.
__device__ inline float normal_distribution(float x) {
    return fused(0.5f, erff(x * 0.707106781f), 0.5f);
}

// 2·√(2/π)·(x + 0.044715·x³): gelu_tanh is x·sigmoid of it, for ½(1 + tanh u) = 1/(1 + e^−2u).
__device__ inline float gelu_cubic(float x) {
    return x * fused(x * x, 0.0713548163f, 1.5957691216f);
}

// Within ±bound; NaN stays NaN.
__device__ inline float bounded(float x, float bound) {
    return x < -bound ? -bound : x > bound ? bound : x;
}

template <int kind>
__device__ float activated(float x, float slope) {
    if (kind == GENFUSE_RELU) return x < 0 ? 0 : x;
    if (kind == GENFUSE_LEAKY_RELU) return x < 0 ? x * slope : x;
    if (kind == GENFUSE_SILU) return x * sigmoid(x);
    if (kind == GENFUSE_GELU) return x * normal_distribution(x);
    if (kind == GENFUSE_GELU_TANH) return x * sigmoid(gelu_cubic(x));
    if (kind == GENFUSE_TANH) return tanhf(x);
    if (kind == GENFUSE_SIGMOID) return sigmoid(x);
    if (kind == GENFUSE_SOFTPLUS) return (x < 0 ? 0 : x) + log1pf(expf(-fabsf(x)));
    return x;
}

// At a kink that of the left, as PyTorch has it.
template <int kind>
__device__ float derivative(float x, float slope) {
    if (kind == GENFUSE_IDENTITY) return 1;
    if (kind == GENFUSE_RELU) return x > 0 ? 1 : x <= 0 ? 0 : x;
    if (kind == GENFUSE_LEAKY_RELU) return x > 0 ? 1 : x <= 0 ? slope : x;
    // Beyond ±80 every derivative has reached its limit, and 0·∞ is not one.
    const float at = bounded(x, 80);
    if (kind == GENFUSE_TANH) {
        const float t = tanhf(at);
        return fused(-t, t, 1.0f);
    }
    if (kind == GENFUSE_GELU) {
        const float density = 0.3989422804f * expf(-0.5f * at * at);
        return fused(at, density, normal_distribution(at));
    }
    // 1 − share is e^−x·share, without cancellation.
    const float falling = expf(-(kind == GENFUSE_GELU_TANH ? bounded(gelu_cubic(at), 80) : at));
    const float share = reciprocal(1.0f + falling), of_share = share * (falling * share);
    if (kind == GENFUSE_SOFTPLUS) return share;
    if (kind == GENFUSE_SIGMOID) return of_share;
    const float bend = kind == GENFUSE_SILU ? at : at * fused(at * at, 3 * 0.0713548163f, 1.5957691216f);
    return fused(of_share, bend, share);
}

// use(kind) with the number as a type's `value`, so that what is inside is compiled for each activation.
template <int kind>
struct OfKind {
    static constexpr int value = kind;
};
template <class Use>
__device__ void of_kind(int kind, Use use) {
    switch (kind) {
        case GENFUSE_RELU:
            return use(OfKind<GENFUSE_RELU>());
        case GENFUSE_LEAKY_RELU:
            return use(OfKind<GENFUSE_LEAKY_RELU>());
        case GENFUSE_SILU:
            return use(OfKind<GENFUSE_SILU>());
        case GENFUSE_GELU:
            return use(OfKind<GENFUSE_GELU>());
        case GENFUSE_GELU_TANH:
            return use(OfKind<GENFUSE_GELU_TANH>());
        case GENFUSE_TANH:
            return use(OfKind<GENFUSE_TANH>());
        case GENFUSE_SIGMOID:
            return use(OfKind<GENFUSE_SIGMOID>());
        case GENFUSE_SOFTPLUS:
            return use(OfKind<GENFUSE_SOFTPLUS>());
        default:
            return;
    }
}

// In place.
template <int Count>
__device__ void activate(int kind, float slope, float (&value)[Count]) {
    of_kind(kind, [&](auto of) {
#pragma unroll
        for (int j = 0; j < Count; ++j) value[j] = activated<decltype(of)::value>(value[j], slope);
    });
}

// The gradient of what is activated, from that of the result.
template <int Count>
__device__ void differentiate(int kind, float slope, const float (&at)[Count], float (&gradient)[Count]) {
    of_kind(kind, [&](auto of) {
#pragma unroll
        for (int j = 0; j < Count; ++j) gradient[j] *= derivative<decltype(of)::value>(at[j], slope);
    });
}

}  // namespace genfuse
