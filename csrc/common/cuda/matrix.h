// Products of small matrices by a warp on tensor cores. A matrix is known by rows of 16 bytes in shared
// memory.
#pragma once

#include "common/cuda/block.h"
#include "common/cuda/stored.h"

namespace genfuse {

// A float32 of which tensor cores read the first 10 bits of the mantissa.
struct tf32 {};

#ifdef __CUDA_ARCH__
// Four matrices of 8 rows: lane l names row l % 8 of matrix l / 8, and gets of each the 4 bytes number l % 4
// of row l / 4.
__device__ inline void load_matrices(const void* row, uint32 (&part)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
                 : "r"(static_cast<uint32>(__cvta_generic_to_shared(row)))
                 : "memory");
}

// Likewise, of matrices of 16-bit elements that lie transposed: a lane gets column l / 4 of rows 2·(l % 4)
// and the next.
__device__ inline void load_transposed(const void* row, uint32 (&part)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
                 : "r"(static_cast<uint32>(__cvta_generic_to_shared(row)))
                 : "memory");
}

#define GENFUSE_MMA(shape, types)                                                       \
    asm volatile("mma.sync.aligned." shape ".row.col.f32." types                        \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

// sum (16 x 8) += a (16 rows of 32 bytes) times the transpose of b (8 rows of 32 bytes). a: the parts of the
// first rows' first halves, the last rows' first halves, then likewise the second halves; b: both halves. Of
// the sum a lane has row lane / 4, columns 2·(lane % 4) and the next, and the same of the row 8 below.
__device__ inline void multiply(const uint32 (&a)[4], const uint32 (&b)[2], float (&sum)[4], float16) {
    GENFUSE_MMA("m16n8k16", "f16.f16");
}
__device__ inline void multiply(const uint32 (&a)[4], const uint32 (&b)[2], float (&sum)[4], bfloat16) {
    GENFUSE_MMA("m16n8k16", "bf16.bf16");
}
__device__ inline void multiply(const uint32 (&a)[4], const uint32 (&b)[2], float (&sum)[4], tf32) {
    GENFUSE_MMA("m16n8k8", "tf32.tf32");
}
#undef GENFUSE_MMA

// A float32 rounded to what tensor cores read of it.
__device__ inline uint32 round_to_tf32(float value) {
    uint32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
    return rounded;
}
#else
// The rows that all lanes name.
inline void name_rows(const void* row, const void* (&rows)[32], int line) {
    emulation::gather(kAllLanes, &row, sizeof(row), rows, line);
    if (threadIdx.x % 32) return;
    for (int j = 0; j < 4; ++j) emulation::count_bank_conflicts(rows + 8 * j);
}

inline void load_matrices(const void* row, uint32 (&part)[4], int line = __builtin_LINE()) {
    const void* rows[32];
    name_rows(row, rows, line);
    const uint32 lane = threadIdx.x % 32;
    for (uint32 j = 0; j < 4; ++j) part[j] = static_cast<const uint32*>(rows[8 * j + lane / 4])[lane % 4];
}

inline void load_transposed(const void* row, uint32 (&part)[4], int line = __builtin_LINE()) {
    const void* rows[32];
    name_rows(row, rows, line);
    const uint32 lane = threadIdx.x % 32;
    for (uint32 j = 0; j < 4; ++j) {
        const void* const* const matrix = rows + 8 * j + 2 * (lane % 4);
        const uint32 low = static_cast<const unsigned short*>(matrix[0])[lane / 4];
        part[j] = low | static_cast<uint32>(static_cast<const unsigned short*>(matrix[1])[lane / 4]) << 16;
    }
}

inline float factor(uint32 part, int which, float16) {
    return widen(float16{static_cast<unsigned short>(part >> 16 * which)});
}
inline float factor(uint32 part, int which, bfloat16) {
    return widen(bfloat16{static_cast<unsigned short>(part >> 16 * which)});
}
inline float factor(uint32 part, int, tf32) {
    return __uint_as_float(part & 0xFFFFE000u);
}

template <class Factor>
void multiply(const uint32 (&a)[4], const uint32 (&b)[2], float (&sum)[4], Factor kind,
              int line = __builtin_LINE()) {
    struct Factors {
        uint32 a[4], b[2];
    } own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, of[32];
    emulation::gather(kAllLanes, &own, sizeof(own), of, line);
    constexpr int each = sizeof(Factor) == 2 ? 2 : 1;  // factors of a part
    const uint32 lane = threadIdx.x % 32;
    for (uint32 i = 0; i < 4; ++i) {
        const uint32 low = i / 2, row = lane / 4, column = 2 * (lane % 4) + i % 2;
        for (uint32 half = 0; half < 2; ++half) {
            for (uint32 k = 0; k < 4; ++k) {
                for (int e = 0; e < each; ++e) {
                    sum[i] += factor(of[4 * row + k].a[2 * half + low], e, kind) *
                              factor(of[4 * column + k].b[half], e, kind);
                }
            }
        }
    }
}

inline uint32 round_to_tf32(float value) {
    const uint32 bits = __float_as_uint(value);
    const bool finite = (bits & 0x7F800000u) != 0x7F800000u;
    return finite ? (bits + 0x1000u) & 0xFFFFE000u : bits;
}
#endif

}  // namespace genfuse
