// Normals from pairs of 32-bit words (Box & Muller 1958), as csrc/common/box_muller.h does it: the same
// polynomials, every product that is added a fused one, so the same bits. No library call: sinf and cosf
// carry a slow path for large arguments that spills to local memory.
#pragma once

#include "common/cuda/fused.h"
#include "common/cuda/philox.h"

namespace genfuse {

template <class T>
struct SineCosine {
    T sine, cosine;
};

template <class T>
__device__ T polynomial(T, T coefficient) {
    return coefficient;
}
// Lowest power first.
template <class T, class... Rest>
__device__ T polynomial(T x, T coefficient, Rest... rest) {
    return fused(polynomial(x, rest...), x, coefficient);
}

// √(−2 ln u) of u = ((word >> 9) + ½)·2⁻²³ = t·2⁻²⁴.
__device__ inline void radius(uint32 word, float* result) {
    const int bits = __float_as_int(static_cast<float>(word >> 8 | 1u));
    const int exponent = (bits - 0x3F3504F3) >> 23;  // t = 2^exponent·(m + 1), m + 1 in [√½, √2)
    const float m = __int_as_float(bits - exponent * (1 << 23)) - 1.0f;
    const float log = polynomial(m, -1.99999993623611983f, 1.00000750112579455f, -0.666692120469045988f,
                                 0.499378139179053368f, -0.398266957647476542f, 0.3455641213285335f,
                                 -0.322524958119742051f, 0.19790701473813028f);
    *result = sqrtf(fused(m, log, static_cast<float>(exponent - 24) * -1.3862943611198906188f));
}

__device__ inline void radius(uint32 word, double* result) {
    const int64 bits = __double_as_longlong(static_cast<double>(word >> 8 | 1u));
    const int64 exponent = (bits - 0x3FE6A09E667F3BCDll) >> 52;
    const double m = __longlong_as_double(bits - exponent * (1ll << 52)) - 1.0;
    const double s = m / (m + 2.0);
    const double log = polynomial(s * s, -4.0, -1.33333333333333317, -0.800000000000149879,
                                  -0.571428571376382539, -0.444444453538590805, -0.363635474760326116,
                                  -0.307743218522681598, -0.264975261669202318, -0.265242073480436182);
    *result = sqrt(fused(s, log, static_cast<double>(exponent - 24) * -1.3862943611198906188));
}

// What is left of the turn u = t·2⁻²⁴ after the nearest quarter, in units of 2⁻²⁴, within ±⅛ turn.
__device__ inline int eighth(uint32 shifted) {
    return static_cast<int>((shifted & 0x3FFFFFFFu) >> 8 | 1u) - (1 << 21);
}

__device__ inline SineCosine<float> of_eighth(float r) {
    const float square = r * r;
    return {r * polynomial(square, 6.28318528781294674f, -41.3416625705479549f, 81.5925428713015433f,
                           -75.4016127027474585f),
            polynomial(square, 0.999999972328494311f, -19.7391521187438595f, 64.9212342534517104f,
                       -83.5918167777211815f)};
}

__device__ inline SineCosine<double> of_eighth(double r) {
    const double square = r * r;
    return {r * polynomial(square, 6.28318530717958648, -41.3417022403997601, 81.6052492760749307,
                           -76.7058597529981267, 42.0586939289887834, -15.0946404038915456,
                           3.81978812016321142, -0.7116358090781666),
            polynomial(square, 1.0, -19.7392088021787172, 64.9393940226682912, -85.4568172066935499,
                       60.2446413718181047, -26.4262567725454378, 7.90353519476295794, -1.71431618792852784,
                       0.279458671475289623)};
}

// sin 2πu and cos 2πu.
template <class T>
__device__ SineCosine<T> turn(uint32 word) {
    const uint32 shifted = word + 0x20000000u;  // the two top bits are now the nearest quarter
    const SineCosine<T> near = of_eighth(static_cast<T>(eighth(shifted)) * static_cast<T>(0x1p-24));
    const bool odd = (shifted & 0x40000000u) != 0;
    const T sine = odd ? near.cosine : near.sine, cosine = odd ? near.sine : near.cosine;
    const bool sine_negative = (shifted & 0x80000000u) != 0;
    const bool cosine_negative = ((shifted + 0x40000000u) & 0x80000000u) != 0;
    return {sine_negative ? -sine : sine, cosine_negative ? -cosine : cosine};
}

// Four normals from a block's four words, in the order of `philox_normal/spec.py`.
template <class T>
__device__ void box_muller(const PhiloxWords& words, T* normal) {
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
        T r;
        radius(words.word[pair], &r);
        const SineCosine<T> angle = turn<T>(words.word[pair + 1]);
        normal[pair] = r * angle.cosine;
        normal[pair + 1] = r * angle.sine;
    }
}

}  // namespace genfuse
