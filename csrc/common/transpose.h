// Square transposes of float32 vectors in registers.
#pragma once

#include "common/simd.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
GENFUSE_INLINE void transpose(f32 (&rows)[16]) {
    f32 a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        for (int half = 0; half < 2; ++half) {
            const __m512d low = reinterpret_cast<__m512d>(a[i + half]);
            const __m512d high = reinterpret_cast<__m512d>(a[i + half + 2]);
            b[i + 2 * half] = reinterpret_cast<f32>(_mm512_unpacklo_pd(low, high));
            b[i + 2 * half + 1] = reinterpret_cast<f32>(_mm512_unpackhi_pd(low, high));
        }
    }
    for (int i = 0; i < 4; ++i) {  // b[4g + i]: rows 4g .. 4g + 3, columns i, i + 4, i + 8, i + 12
        a[i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0x88);
        a[4 + i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0xDD);
        a[8 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0x88);
        a[12 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0xDD);
    }
    for (int i = 0; i < 4; ++i) {
        rows[i] = _mm512_shuffle_f32x4(a[i], a[8 + i], 0x88);
        rows[8 + i] = _mm512_shuffle_f32x4(a[i], a[8 + i], 0xDD);
        rows[4 + i] = _mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0x88);
        rows[12 + i] = _mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0xDD);
    }
}
#elif GENFUSE_VECTOR_BYTES == 32 && defined(__AVX2__)
GENFUSE_INLINE void transpose(f32 (&rows)[8]) {
    f32 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xEE);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
        rows[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}
#else
// Doubles the size of the blocks that are in place each time round; compilers make shuffles of it.
template <int lanes>
GENFUSE_INLINE void transpose(f32 (&rows)[lanes]) {
    for (int size = 1; size < lanes; size *= 2) {
        for (int i = 0; i < lanes; ++i) {
            if (i & size) continue;
            f32 upper = rows[i], lower = rows[i + size];
            for (int lane = 0; lane < lanes; ++lane) {
                if (lane & size) {
                    upper[lane] = rows[i + size][lane - size];
                } else {
                    lower[lane] = rows[i][lane + size];
                }
            }
            rows[i] = upper;
            rows[i + size] = lower;
        }
    }
}
#endif

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
