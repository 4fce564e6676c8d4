// bfloat16 and float16 in memory, float32 in registers; rounding to nearest even.
#pragma once

#include "common/simd.h"
#include "common/tensor.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

struct bfloat16 {
    uint16_t bits;
};
struct float16 {
    uint16_t bits;
};

// run(value) with a value of the type that images of this dtype hold: float32, bfloat16 or float16.
template <class Run>
GENFUSE_INLINE void with_stored(int32_t dtype, Run run) {
    switch (dtype) {
        case GENFUSE_BFLOAT16:
            return run(bfloat16{});
        case GENFUSE_FLOAT16:
            return run(float16{});
        default:
            return run(float{});
    }
}

// The type that arithmetic on a stored type runs in.
template <class Stored>
struct Arithmetic {
    using type = float;
};
template <>
struct Arithmetic<double> {
    using type = double;
};

GENFUSE_INLINE f32 widen(const float* from) {
    return load<f32>(from);
}
GENFUSE_INLINE f64 widen(const double* from) {
    return load<f64>(from);
}

GENFUSE_INLINE f32 widen(const bfloat16* from) {
    return reinterpret_cast<f32>(__builtin_convertvector(load<u16_half>(from), u32) << 16);
}

GENFUSE_INLINE f32 widen(const float16* from) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
    const u32 half = __builtin_convertvector(load<u16_half>(from), u32);
    const f32 finite = reinterpret_cast<f32>((half & 0x7FFFu) << 13) * 0x1p112f;  // moves the exponent's bias
    const u32 special = reinterpret_cast<u32>((half & 0x7C00u) == 0x7C00u) & 0x7F800000u;
    return reinterpret_cast<f32>(reinterpret_cast<u32>(finite) | special | (half & 0x8000u) << 16);
#endif
}

GENFUSE_INLINE void narrow(float* to, f32 value) {
    store(to, value);
}
GENFUSE_INLINE void narrow(double* to, f64 value) {
    store(to, value);
}

GENFUSE_INLINE void narrow(bfloat16* to, f32 value) {
    const u32 bits = reinterpret_cast<u32>(value);
    const u32 rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    const u32 quiet = bits >> 16 | 0x40u;
    store(to, __builtin_convertvector(value != value ? quiet : rounded, u16_half));
}

GENFUSE_INLINE void narrow(float16* to, f32 value) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__F16C__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#else
    const u32 bits = reinterpret_cast<u32>(value);
    const u32 sign = bits >> 16 & 0x8000u;
    const u32 magnitude = bits & 0x7FFFFFFFu;
    const u32 normal = (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
    // Adding ½ aligns a subnormal's last place with the sum's, so that the addition rounds it.
    const u32 subnormal = reinterpret_cast<u32>(reinterpret_cast<f32>(magnitude) + 0.5f) - 0x3F000000u;
    const u32 finite = magnitude < 0x38800000u ? subnormal : normal;
    const u32 special = magnitude > 0x7F800000u ? broadcast<u32>(0x7E00u) : broadcast<u32>(0x7C00u);
    const u32 half = sign | (magnitude >= 0x47800000u ? special : finite);
    store(to, __builtin_convertvector(half, u16_half));
#endif
}

// Neighbours along a sum, rounded to bfloat16 and put together: the first in the lower half.
GENFUSE_INLINE f32 paired(f32 first, f32 second) {
    bfloat16 halves[2][kLanes<float>];
    narrow(halves[0], first);
    narrow(halves[1], second);
    const u32 lower = reinterpret_cast<u32>(widen(halves[0])),
              upper = reinterpret_cast<u32>(widen(halves[1]));
    return reinterpret_cast<f32>(lower >> 16 | upper);
}

// The first `count` values, fewer than a vector; the other lanes are zero.
template <class Stored>
GENFUSE_INLINE f32 widen_first(const Stored* from, int64_t count) {
    Stored part[kLanes<float>] = {};
    __builtin_memcpy(part, from, static_cast<size_t>(count) * sizeof(Stored));
    return widen(part);
}

GENFUSE_INLINE f32 widen_first(const float* from, int64_t count) {
    return load_first(from, static_cast<int>(count));
}

#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
GENFUSE_INLINE f32 widen_first(const bfloat16* from, int64_t count) {
    const __m256i part = _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1), from);
    return reinterpret_cast<f32>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part), 16));
}
#endif

// The vector at `from`, of which `count` values are there; the others are zero.
template <class Stored>
GENFUSE_INLINE f32 widen_part(const Stored* from, int64_t count) {
    return count >= kLanes<float> ? widen(from) : widen_first(from, count);
}

// The first `count` values.
template <class Stored>
GENFUSE_INLINE void narrow_part(Stored* to, f32 value, int64_t count) {
    if (count >= kLanes<float>) return narrow(to, value);
    if constexpr (sizeof(Stored) == sizeof(float)) {
        store_first(to, value, static_cast<int>(count));
    } else {
        Stored part[kLanes<float>];
        narrow(part, value);
        __builtin_memcpy(to, part, static_cast<size_t>(count) * sizeof(Stored));
    }
}

// A dense run; a whole vector is written, or read, where its last values are.
template <class Stored, class T>
void widen_run(const Stored* from, int64_t count, T* to) {
    constexpr int lanes = kLanes<T>;
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(to + i, widen(from + i));
    if (i == count) return;
    Stored last[lanes] = {};
    __builtin_memcpy(last, from + i, static_cast<size_t>(count - i) * sizeof(Stored));
    store(to + i, widen(last));
}

template <class Stored, class T>
void narrow_run(const T* from, int64_t count, Stored* to) {
    constexpr int lanes = kLanes<T>;
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) narrow(to + i, load<vec<T>>(from + i));
    if (i == count) return;
    Stored last[lanes];
    narrow(last, load<vec<T>>(from + i));
    __builtin_memcpy(to + i, last, static_cast<size_t>(count - i) * sizeof(Stored));
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
