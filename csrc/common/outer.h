// Sums over pixels of one image's channels times another's: a few rows of a weight gradient, in registers.
#pragma once

#include "common/simd.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Rows that are summed at once, each over so many blocks of 16 lanes. The sums, the lanes of a step and one
// broadcast value fill the registers: 8 x 3 + 3 + 1 of 32, 4 x 2 + 2 + 1 of 16.
#if GENFUSE_VECTOR_BYTES == 64
constexpr int kOuterRows = 8, kOuterBlocks = 3;
#elif GENFUSE_VECTOR_BYTES == 32
constexpr int kOuterRows = 4, kOuterBlocks = 1;
#else
constexpr int kOuterRows = 2, kOuterBlocks = 1;
#endif

// Blocks of the next pass over those that are left: of one alone the broadcast values would take longer than
// the products.
GENFUSE_INLINE int outer_blocks(int64_t left) {
    if (left == kOuterBlocks + 1 && kOuterBlocks > 2) return 2;
    return static_cast<int>(left < kOuterBlocks ? left : kOuterBlocks);
}

// Where one side's values lie: floats from a step to the next, from a line of steps, from a sample of lines;
// of the lanes also from a block of 16 to the next.
struct Places {
    int64_t step, line, sample, block;
};

struct Steps {
    int64_t samples, lines, length;
    Places rows, lanes;
};

// sums[i][lane] = Σ rows[i]·lanes over all steps in order, added to what is there unless `fresh`.
template <int rows, int blocks>
void sum_outer(const float* const* row, const float* lanes, const Steps& steps, float* const* sums,
               bool fresh) {
    constexpr int width = kLanes<float>, a_block = 16 / width, vectors = blocks * a_block;
    f32 sum[rows][vectors];
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[i][v] = f32{};
    }
    for (int64_t line = 0; line < steps.samples * steps.lines; ++line) {
        const int64_t sample = line / steps.lines, within = line % steps.lines;
        const int64_t offset = sample * steps.rows.sample + within * steps.rows.line;
        const float* from[rows];
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) from[i] = row[i] + offset;
        const float* column = lanes + sample * steps.lanes.sample + within * steps.lanes.line;
        for (int64_t step = 0; step < steps.length; ++step, column += steps.lanes.step) {
            f32 value[vectors];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) {
                value[v] = load<f32>(column + v / a_block * steps.lanes.block + v % a_block * width);
            }
#pragma GCC unroll 8
            for (int i = 0; i < rows; ++i) {
                const f32 factor = broadcast<f32>(from[i][step * steps.rows.step]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v) sum[i][v] = fma(factor, value[v], sum[i][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
            float* const to = sums[i] + v * width;
            store(to, fresh ? sum[i][v] : load<f32>(to) + sum[i][v]);
        }
    }
}

using SumOuter = void (*)(const float* const*, const float*, const Steps&, float* const*, bool);

template <int blocks, int... rows>
SumOuter outer_by_rows(int count) {
    static const SumOuter kernels[] = {nullptr, sum_outer<rows, blocks>...};
    return kernels[count];
}

// The kernel for `count` rows, 1 to kOuterRows, and `blocks` blocks of lanes, 1 to kOuterBlocks.
inline SumOuter outer_for(int count, int blocks) {
#if GENFUSE_VECTOR_BYTES == 64
    switch (blocks) {
        case 1:
            return outer_by_rows<1, 1, 2, 3, 4, 5, 6, 7, 8>(count);
        case 2:
            return outer_by_rows<2, 1, 2, 3, 4, 5, 6, 7, 8>(count);
        default:
            return outer_by_rows<3, 1, 2, 3, 4, 5, 6, 7, 8>(count);
    }
#elif GENFUSE_VECTOR_BYTES == 32
    (void)blocks;
    return outer_by_rows<1, 1, 2, 3, 4>(count);
#else
    (void)blocks;
    return outer_by_rows<1, 1, 2>(count);
#endif
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
