// What attention's kernels share: weights as powers of two, and a head's tokens as matrices.
#pragma once

#include "attention/job.h"
#include "common/exp2.h"
#include "common/pack.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr float kLog2E = 1.44269504f;

// 2ˣ for x ≤ 0: 0 below 2⁻¹²⁶, NaN where x is NaN.
GENFUSE_INLINE f32 power_of_two(f32 x) {
    const f32 bounded = larger(broadcast<f32>(-127.0f), x);  // whose exponent's bits are 0
    const f32 shift = broadcast<f32>(Exp2Constants<float>::shift);
    const f32 shifted = bounded + shift;
    const f32 fraction = bounded - (shifted - shift);
    const i32 exponent = (reinterpret_cast<i32>(shifted) - reinterpret_cast<i32>(shift) + 127) << 23;
    return polynomial(fraction, Exp2Constants<float>::coefficients) * reinterpret_cast<f32>(exponent);
}

// 2ˣ for |x| ≤ 100.
GENFUSE_INLINE f32 near_power_of_two(f32 x) {
    const f32 shift = broadcast<f32>(Exp2Constants<float>::shift);
    const f32 shifted = x + shift;
    const f32 fraction = x - (shifted - shift);
    const f32 value = polynomial(fraction, Exp2Constants<float>::coefficients);
    // The shift's own low bits are zero: what is left is the exponent, to be added to the value's.
    return reinterpret_cast<f32>(reinterpret_cast<i32>(value) + (reinterpret_cast<i32>(shifted) << 23));
}

// Tokens [first, first + count) of a head.
template <class Stored>
Matrix<Stored> tokens_of(const genfuse_heads& heads, int64_t n, int64_t head, int64_t first, int64_t count,
                         int64_t channels) {
    const Stored* const data = static_cast<const Stored*>(heads.data) + n * heads.stride_n +
                               head * heads.stride_head + first * heads.stride_token;
    return {data, heads.stride_token, heads.stride_channel, count, channels};
}

template <class Stored>
Matrix<Stored> transposed(const Matrix<Stored>& m) {
    return {m.data, m.stride_column, m.stride_row, m.columns, m.rows};
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
