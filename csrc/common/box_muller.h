// Normals from pairs of 32-bit words (Box & Muller 1958), without a library call.
//
// u = ((w >> 9) + ½)·2⁻²³ = t·2⁻²⁴ with t = (w >> 8) | 1 an odd integer of 24 bits, exact in either
// precision. −2 ln u: t = 2^e·m with m in [√½, √2), polynomial in m − 1, which is exact: accurate near u = 1
// too. 2πu: the turn's quadrant and the remainder, within ±⅛ turn, are read from the integer exactly. The
// polynomials are minimax fits (mpmath.chebyfit); their errors are given beside them.
#pragma once

#include "common/philox.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr double kMinusTwoLn2 = -1.3862943611198906188;

struct SinCos32 {
    f32 sine, cosine;
};

struct SinCos64 {
    f64 sine, cosine;
};

template <class V, int N, class S>
GENFUSE_INLINE V polynomial(V x, const S (&coefficients)[N]) {
    V sum = broadcast<V>(coefficients[N - 1]);
    for (int i = N - 2; i >= 0; --i) sum = fma(sum, x, broadcast<V>(coefficients[i]));
    return sum;
}

// √(−2 ln u), relative error below 3e-7.
GENFUSE_INLINE f32 radius(u32 word) {
    static const float kLog[] = {
        -1.99999993623611983f,  1.00000750112579455f,   -0.666692120469045988f,
        0.499378139179053368f,  -0.398266957647476542f, 0.3455641213285335f,
        -0.322524958119742051f, 0.19790701473813028f};  // 4.4e-7, a quarter of it in √
    const i32 t = reinterpret_cast<i32>((word >> 8) | 1u);
    const i32 bits = reinterpret_cast<i32>(__builtin_convertvector(t, f32));
    const i32 exponent = (bits - 0x3F3504F3) >> 23;
    const f32 m = reinterpret_cast<f32>(bits - (exponent << 23)) - 1.0f;
    const f32 e = __builtin_convertvector(exponent - 24, f32);
    return square_root(fma(m, polynomial(m, kLog), e * static_cast<float>(kMinusTwoLn2)));
}

// sin and cos of 2πu, error below 1e-7.
GENFUSE_INLINE SinCos32 turn(u32 word) {
    static const float kSin[] = {6.28318528781294674f, -41.3416625705479549f, 81.5925428713015433f,
                                 -75.4016127027474585f};  // 2e-8
    static const float kCos[] = {0.999999972328494311f, -19.7391521187438595f, 64.9212342534517104f,
                                 -83.5918167777211815f};  // 3e-8
    const u32 shifted = word + 0x20000000u;               // the two top bits are now the nearest quarter
    const i32 remainder = reinterpret_cast<i32>(((shifted & 0x3FFFFFFFu) >> 8) | 1u) - (1 << 21);
    const f32 r = __builtin_convertvector(remainder, f32) * 0x1p-24f;
    const f32 square = r * r;
    const f32 sine = r * polynomial(square, kSin);
    const f32 cosine = polynomial(square, kCos);
    const f32 odd = reinterpret_cast<f32>(shifted << 1);
    const u32 sine_sign = shifted & 0x80000000u;
    const u32 cosine_sign = (shifted + 0x40000000u) & 0x80000000u;
    const f32 first = select_by_sign(odd, cosine, sine);
    const f32 second = select_by_sign(odd, sine, cosine);
    return {reinterpret_cast<f32>(reinterpret_cast<u32>(first) ^ sine_sign),
            reinterpret_cast<f32>(reinterpret_cast<u32>(second) ^ cosine_sign)};
}

// An integer below 2⁵² in each lane, as a double.
GENFUSE_INLINE f64 to_double(u64 integer) {
    return reinterpret_cast<f64>(integer | 0x4330000000000000u) - 0x1p52;
}

GENFUSE_INLINE f64 radius(u64 word) {
    static const double kAtanh[] = {-4.0,
                                    -1.33333333333333317,
                                    -0.800000000000149879,
                                    -0.571428571376382539,
                                    -0.444444453538590805,
                                    -0.363635474760326116,
                                    -0.307743218522681598,
                                    -0.264975261669202318,
                                    -0.265242073480436182};  // −4·atanh(s)/s in s², 3e-20
    const f64 t = to_double(((word >> 8) & 0xFFFFFFu) | 1u);
    const u64 bits = reinterpret_cast<u64>(t);
    const u64 exponent = (bits - 0x3FE6A09E667F3BCDu) >> 52;
    const f64 m = reinterpret_cast<f64>(bits - (exponent << 52)) - 1.0;
    const f64 e = to_double(exponent) - 24.0;
    const f64 s = m / (m + 2.0);
    return square_root(fma(s, polynomial(s * s, kAtanh), e * kMinusTwoLn2));
}

GENFUSE_INLINE SinCos64 turn(u64 word) {
    static const double kSin[] = {6.28318530717958648,  -41.3417022403997601, 81.6052492760749307,
                                  -76.7058597529981267, 42.0586939289887834,  -15.0946404038915456,
                                  3.81978812016321142,  -0.7116358090781666};  // 1e-20
    static const double kCos[] = {1.0,
                                  -19.7392088021787172,
                                  64.9393940226682912,
                                  -85.4568172066935499,
                                  60.2446413718181047,
                                  -26.4262567725454378,
                                  7.90353519476295794,
                                  -1.71431618792852784,
                                  0.279458671475289623};  // 2e-23
    const u64 shifted = (word + 0x20000000u) << 32;
    const f64 r = (to_double(((shifted >> 40) & 0x3FFFFFu) | 1u) - 0x1p21) * 0x1p-24;
    const f64 square = r * r;
    const f64 sine = r * polynomial(square, kSin);
    const f64 cosine = polynomial(square, kCos);
    const i64 odd = reinterpret_cast<i64>(shifted << 1) < 0;
    const u64 sine_sign = shifted & 0x8000000000000000u;
    const u64 cosine_sign = (shifted + 0x4000000000000000u) & 0x8000000000000000u;
    const f64 first = odd ? cosine : sine;
    const f64 second = odd ? sine : cosine;
    return {reinterpret_cast<f64>(reinterpret_cast<u64>(first) ^ sine_sign),
            reinterpret_cast<f64>(reinterpret_cast<u64>(second) ^ cosine_sign)};
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
