// Vectors of GENFUSE_VECTOR_BYTES bytes, compiled once for each instruction set.
//
// The operators (+ - * / & | ^ << >> < ?:) are those of the GCC and Clang vector extensions, the same source
// for 16, 32 and 64 bytes; only what they lack is written out here. Everything lives in an anonymous
// namespace inside the instruction set's own, so that no AVX code can be linked in place of a generic inline
// function.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define GENFUSE_INLINE inline __attribute__((always_inline))

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int kVectorBytes = GENFUSE_VECTOR_BYTES;

typedef float f32 __attribute__((vector_size(GENFUSE_VECTOR_BYTES)));
typedef double f64 __attribute__((vector_size(GENFUSE_VECTOR_BYTES)));
typedef int32_t i32 __attribute__((vector_size(GENFUSE_VECTOR_BYTES)));
typedef int64_t i64 __attribute__((vector_size(GENFUSE_VECTOR_BYTES)));
typedef uint32_t u32 __attribute__((vector_size(GENFUSE_VECTOR_BYTES)));
typedef uint64_t u64 __attribute__((vector_size(GENFUSE_VECTOR_BYTES)));
typedef uint16_t u16_half __attribute__((vector_size(GENFUSE_VECTOR_BYTES / 2)));

template <class T>
struct Vector;
template <>
struct Vector<float> {
    using type = f32;
    using integer = i32;
};
template <>
struct Vector<double> {
    using type = f64;
    using integer = i64;
};
template <class T>
using vec = typename Vector<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class V>
GENFUSE_INLINE V load(const void* from) {
    V value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

template <class V>
GENFUSE_INLINE void store(void* to, V value) {
    __builtin_memcpy(to, &value, sizeof value);
}

// The first `bytes` bytes; the other lanes are zero.
template <class V>
GENFUSE_INLINE V load_part(const void* from, int64_t bytes) {
    V value = {};
    __builtin_memcpy(&value, from, static_cast<size_t>(bytes));
    return value;
}

template <class V>
GENFUSE_INLINE void store_part(void* to, V value, int64_t bytes) {
    __builtin_memcpy(to, &value, static_cast<size_t>(bytes));
}

// The first `count` values, fewer than a vector; the other lanes are zero.
GENFUSE_INLINE f32 load_first(const float* from, int count) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes));
#else
    return load_part<f32>(from, count * static_cast<int64_t>(sizeof(float)));
#endif
}

GENFUSE_INLINE void store_first(float* to, f32 value, int count) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), value);
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(to, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes), value);
#else
    store_part(to, value, count * static_cast<int64_t>(sizeof(float)));
#endif
}

// Each lane to to[lane·step].
GENFUSE_INLINE void scatter(float* to, f32 value, int64_t step) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_i32scatter_ps(to, _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(step))), value, 4);
#else
    for (int lane = 0; lane < kLanes<float>; ++lane) to[lane * step] = value[lane];
#endif
}

template <class V, class S>
GENFUSE_INLINE V broadcast(S value) {
    return value - V{};  // a zero keeps its sign
}

// a·b + c, rounded once where the instruction set can. The compiler itself contracts nothing
// (-ffp-contract=off), so body and tail of a loop give the same bits.
GENFUSE_INLINE f32 fma(f32 a, f32 b, f32 c) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif GENFUSE_VECTOR_BYTES == 16 && defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

GENFUSE_INLINE f64 fma(f64 a, f64 b, f64 c) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__FMA__)
    return _mm256_fmadd_pd(a, b, c);
#elif GENFUSE_VECTOR_BYTES == 16 && defined(__aarch64__)
    return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
}

template <class V>
GENFUSE_INLINE V square_root(V value) {
    V root;
    for (int i = 0; i < static_cast<int>(sizeof(V) / sizeof(value[0])); ++i) {
        root[i] = sizeof(value[0]) == 4 ? __builtin_sqrtf(static_cast<float>(value[i]))
                                        : static_cast<decltype(0.0)>(__builtin_sqrt(value[i]));
    }
    return root;
}

#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
template <>
GENFUSE_INLINE f32 square_root(f32 value) {
    return _mm512_sqrt_ps(value);
}
template <>
GENFUSE_INLINE f64 square_root(f64 value) {
    return _mm512_sqrt_pd(value);
}
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
template <>
GENFUSE_INLINE f32 square_root(f32 value) {
    return _mm256_sqrt_ps(value);
}
template <>
GENFUSE_INLINE f64 square_root(f64 value) {
    return _mm256_sqrt_pd(value);
}
#elif GENFUSE_VECTOR_BYTES == 16 && defined(__SSE2__)
template <>
GENFUSE_INLINE f32 square_root(f32 value) {
    return _mm_sqrt_ps(value);
}
template <>
GENFUSE_INLINE f64 square_root(f64 value) {
    return _mm_sqrt_pd(value);
}
#endif

// a > b ? a : b and a < b ? a : b: b where either is NaN.
template <class V>
GENFUSE_INLINE V larger(V a, V b) {
    return a > b ? a : b;
}
template <class V>
GENFUSE_INLINE V smaller(V a, V b) {
    return a < b ? a : b;
}

#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define GENFUSE_EXTREME(name, V, instruction) \
    template <>                               \
    GENFUSE_INLINE V name(V a, V b) {         \
        return _mm512_##instruction(a, b);    \
    }
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
#define GENFUSE_EXTREME(name, V, instruction) \
    template <>                               \
    GENFUSE_INLINE V name(V a, V b) {         \
        return _mm256_##instruction(a, b);    \
    }
#elif GENFUSE_VECTOR_BYTES == 16 && defined(__SSE2__)
#define GENFUSE_EXTREME(name, V, instruction) \
    template <>                               \
    GENFUSE_INLINE V name(V a, V b) {         \
        return _mm_##instruction(a, b);       \
    }
#endif
#if defined(GENFUSE_EXTREME)  // compilers make a comparison and a blend of the expression, for the NaN's sake
GENFUSE_EXTREME(larger, f32, max_ps)
GENFUSE_EXTREME(larger, f64, max_pd)
GENFUSE_EXTREME(smaller, f32, min_ps)
GENFUSE_EXTREME(smaller, f64, min_pd)
#undef GENFUSE_EXTREME
#endif

// Clamped to [low, high]; a NaN among the values stays NaN.
template <class V>
GENFUSE_INLINE V clamp(V value, V low, V high) {
    return smaller(high, larger(low, value));
}

// `negative` where the sign bit of `sign` is set, else `positive`.
GENFUSE_INLINE f32 select_by_sign(f32 sign, f32 negative, f32 positive) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512DQ__)
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(reinterpret_cast<__m512i>(sign)), positive, negative);
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
    return _mm256_blendv_ps(positive, negative, sign);
#else
    return reinterpret_cast<i32>(sign) < 0 ? negative : positive;
#endif
}

// The low 32 bits of each 64-bit lane, multiplied to 64 bits; the high 32 bits are ignored.
GENFUSE_INLINE u64 multiply_low_words(u64 a, u64 b) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return reinterpret_cast<u64>(
        _mm512_mul_epu32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
    return reinterpret_cast<u64>(
        _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif GENFUSE_VECTOR_BYTES == 16 && defined(__SSE2__)
    return reinterpret_cast<u64>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

#if defined(__clang__)
#define GENFUSE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GENFUSE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, i32{__VA_ARGS__})
#endif

// Lane i: lane from[i] of a and b, b's counted behind a's.
GENFUSE_INLINE f32 pick(f32 a, f32 b, i32 from) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return _mm512_permutex2var_ps(a, reinterpret_cast<__m512i>(from), b);
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
    const __m256i lanes = reinterpret_cast<__m256i>(from);
    const f32 is_second = reinterpret_cast<f32>(from << 28);  // in the sign bit
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(a, lanes), _mm256_permutevar8x32_ps(b, lanes),
                            is_second);
#else
    constexpr int lanes = GENFUSE_VECTOR_BYTES / 4;
    f32 picked;
    for (int i = 0; i < lanes; ++i) picked[i] = from[i] < lanes ? a[from[i]] : b[from[i] - lanes];
    return picked;
#endif
}

// Across the lanes, by halves: what one lane gets is the same whatever the lanes' order of evaluation.
#if GENFUSE_VECTOR_BYTES == 64
#define GENFUSE_HALVES(FOLD, v)                                   \
    FOLD(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7) \
    FOLD(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11) \
    FOLD(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13) \
    FOLD(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#elif GENFUSE_VECTOR_BYTES == 32
#define GENFUSE_HALVES(FOLD, v)     \
    FOLD(v, 4, 5, 6, 7, 0, 1, 2, 3) \
    FOLD(v, 2, 3, 0, 1, 6, 7, 4, 5) \
    FOLD(v, 1, 0, 3, 2, 5, 4, 7, 6)
#else
#define GENFUSE_HALVES(FOLD, v) \
    FOLD(v, 2, 3, 0, 1)         \
    FOLD(v, 1, 0, 3, 2)
#endif

// The sum of all lanes, and the largest that is no NaN where lane 0 is none.
GENFUSE_INLINE float sum_of_lanes(f32 v) {
#define GENFUSE_FOLD(v, ...) v += GENFUSE_SHUFFLE(v, v, __VA_ARGS__);
    GENFUSE_HALVES(GENFUSE_FOLD, v)
#undef GENFUSE_FOLD
    return v[0];
}

GENFUSE_INLINE float largest_of_lanes(f32 v) {
#define GENFUSE_FOLD(v, ...)                                  \
    {                                                         \
        const f32 other = GENFUSE_SHUFFLE(v, v, __VA_ARGS__); \
        v = larger(other, v);                                 \
    }
    GENFUSE_HALVES(GENFUSE_FOLD, v)
#undef GENFUSE_FOLD
    return v[0];
}

// (a0 b0 a1 b1) and (a2 b2 a3 b3) of each group of 16 bytes.
GENFUSE_INLINE f32 interleave_low(f32 a, f32 b) {
#if GENFUSE_VECTOR_BYTES == 64
    return GENFUSE_SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
#elif GENFUSE_VECTOR_BYTES == 32
    return GENFUSE_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
#else
    return GENFUSE_SHUFFLE(a, b, 0, 4, 1, 5);
#endif
}

GENFUSE_INLINE f32 interleave_high(f32 a, f32 b) {
#if GENFUSE_VECTOR_BYTES == 64
    return GENFUSE_SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
#elif GENFUSE_VECTOR_BYTES == 32
    return GENFUSE_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
#else
    return GENFUSE_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
