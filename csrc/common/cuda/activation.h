// Activation functions, NaN where x is NaN.
#pragma once

#include "common/cuda/fused.h"

namespace genfuse {

// In the order of `settings.ACTIVATIONS`.
enum Activation { kIdentity, kRelu, kLeakyRelu, kSilu, kGelu, kGeluTanh, kTanh, kSigmoid, kSoftplus };

__device__ inline float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

__device__ inline float hyperbolic_tangent(float x) {
    const float falling = expf(-2 * fabsf(x));
    const float size = (1 - falling) / (1 + falling);
    return x < 0 ? -size : size;
}

template <class T>
__device__ T activate(Activation activation, T x, T slope) {
    switch (activation) {
        case kRelu:
            return x < 0 ? 0 : x;
        case kLeakyRelu:
            return x < 0 ? x * slope : x;
        case kSilu:
            return x * sigmoid(x);
        case kGelu:
            return x * fused(0.5f, erff(x * 0.7071067811865476f), 0.5f);
        case kGeluTanh:
            return x * fused(0.5f, hyperbolic_tangent(fused(x * x * x, 0.044715f, x) * 0.7978845608028654f),
                             0.5f);
        case kTanh:
            return hyperbolic_tangent(x);
        case kSigmoid:
            return sigmoid(x);
        case kSoftplus:
            return (x < 0 ? 0 : x) + logf(1 + expf(-fabsf(x)));
        default:
            return x;
    }
}

// Of several values, choosing once.
template <int Count>
__device__ void activate_all(Activation activation, float (&value)[Count], float slope) {
    const auto each = [&](Activation chosen) {
#pragma unroll
        for (int j = 0; j < Count; ++j) value[j] = activate(chosen, value[j], slope);
    };
    switch (activation) {
        case kIdentity:
            return;
        case kRelu:
            return each(kRelu);
        case kLeakyRelu:
            return each(kLeakyRelu);
        case kSilu:
            return each(kSilu);
        case kGelu:
            return each(kGelu);
        case kGeluTanh:
            return each(kGeluTanh);
        case kTanh:
            return each(kTanh);
        case kSigmoid:
            return each(kSigmoid);
        case kSoftplus:
            return each(kSoftplus);
    }
}

}  // namespace genfuse
