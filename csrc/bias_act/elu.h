// The activations that bias_act has beside a unit's, and all of them by number.
#pragma once

#include "bias_act/params.h"
#include "common/activation_gradient.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Klambauer et al. 2017: the fixed point is mean 0 and variance 1.
constexpr float kSeluScale = 1.05070098f, kSeluAlpha = 1.67326324f;

// eˣ − 1 of x at most 0.
GENFUSE_INLINE f32 falling(f32 x) {
    return exponential(x) - 1.0f;
}

template <int kind>
GENFUSE_INLINE f32 bias_activated(f32 x, f32 slope) {
    if (kind == GENFUSE_ELU) return x < 0.0f ? falling(x) : x;
    if (kind == GENFUSE_SELU) return kSeluScale * (x < 0.0f ? kSeluAlpha * falling(x) : x);
    return activated<kind>(x, slope);
}

template <int kind>
GENFUSE_INLINE f32 bias_activation_gradient(f32 x, f32 slope) {
    const f32 below = x <= 0.0f ? exponential(x) : x;  // NaN stays
    if (kind == GENFUSE_ELU) return x > 0.0f ? broadcast<f32>(1.0f) : below;
    if (kind == GENFUSE_SELU) {
        return x > 0.0f ? broadcast<f32>(kSeluScale) : kSeluScale * kSeluAlpha * below;
    }
    return activation_gradient<kind>(x, slope);
}

// run(number), as with_activation.
template <class Run>
void with_bias_activation(int kind, Run run) {
    if (kind == GENFUSE_ELU) return run(std::integral_constant<int, GENFUSE_ELU>{});
    if (kind == GENFUSE_SELU) return run(std::integral_constant<int, GENFUSE_SELU>{});
    with_activation(kind, run);
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
