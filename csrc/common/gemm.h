// A few rows times a panel of packed columns, summed in registers.
#pragma once

#include "common/half.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Columns of a panel at most, in blocks of 16; rows that are summed at once, by the panel's width. The sums,
// a row of the panel and one broadcast value fill the registers: 6 x 4 + 4 + 1 of 32, 6 x 2 + 2 + 1 of 16.
#if GENFUSE_VECTOR_BYTES == 64
constexpr int kPanelBlocks = 4;
constexpr int rows_at_once(int) {
    return 6;
}
#elif GENFUSE_VECTOR_BYTES == 32
constexpr int kPanelBlocks = 1;
constexpr int rows_at_once(int) {
    return 6;
}
#else
constexpr int kPanelBlocks = 1;
constexpr int rows_at_once(int) {
    return 2;
}
#endif
constexpr int kRowsAtOnce = rows_at_once(kPanelBlocks);

// A panel for 8 columns or fewer, as an image's last convolution has: half a block where that is whole
// vectors.
constexpr int kNarrowColumns = kLanes<float> < 16 ? 8 : 16;
constexpr int kNarrowRows = kLanes<float> == 8 ? 8 : kLanes<float> == 4 ? 4 : 6;

// Factors of float32.
struct Singles {
    static constexpr int kChannels = 1;  // of the sum, in 4 bytes
    static GENFUSE_INLINE f32 repeat(const float* value) { return broadcast<f32>(*value); }
    static GENFUSE_INLINE f32 multiply(f32 value, f32 column, f32 sum) { return fma(value, column, sum); }
};

// Pairs of bfloat16 in the place of a float32, neighbours along the sum: both products are added in float32.
struct Pairs {
    static constexpr int kChannels = 2;
    static GENFUSE_INLINE f32 repeat(const float* pair) {
        int32_t bits;
        __builtin_memcpy(&bits, pair, sizeof bits);
        return reinterpret_cast<f32>(broadcast<i32>(bits));
    }
    static GENFUSE_INLINE f32 multiply(f32 pair, f32 column, f32 sum) {
#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)
        // As text: the intrinsic would want all of its callers compiled for processors that have it.
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pair), "v"(column));
        return sum;
#else
        const auto upper = [](f32 v) {
            return reinterpret_cast<f32>(reinterpret_cast<u32>(v) & 0xFFFF0000u);
        };
        const auto lower = [](f32 v) { return reinterpret_cast<f32>(reinterpret_cast<u32>(v) << 16); };
        return fma(upper(pair), upper(column), fma(lower(pair), lower(column), sum));
#endif
    }
};

// run(stored, factors) for images of this dtype and factors of `product`, bfloat16's of such images alone.
template <class Run>
GENFUSE_INLINE void with_factors(int32_t dtype, int32_t product, Run run) {
    if (product == GENFUSE_BFLOAT16) return run(bfloat16{}, Pairs{});
    with_stored(dtype, [&](auto stored) { run(stored, Singles{}); });
}

// What is multiplied: `segments` stretches of `length` values, each at its offset from a row's pointer; and
// how far from there what will be multiplied next lies, to be fetched meanwhile; 0: nowhere.
struct Stretches {
    const int64_t* offset;
    int64_t segments;
    int64_t length;
    int64_t next = 0;
};

// sums[i][column] = Σ rows[i][k]·panel[k·columns + column], added to what is there unless `fresh`; from one
// block of 16 columns to the next, sums lie `block_stride` apart. Each sum runs over k in order, whatever the
// number of rows: a row's result does not depend on its neighbours. It starts at zero in each call, so that a
// long reduction is a sum of shorter ones, which rounds less than one long chain.
template <class Product, int rows, int vectors>
void multiply_rows(const float* const* row, const Stretches& stretches, const float* panel,
                   float* const* sums, int64_t block_stride, bool fresh) {
    constexpr int lanes = kLanes<float>;
    const auto place = [block_stride](int v) { return v * lanes / 16 * block_stride + v * lanes % 16; };
    f32 sum[rows][vectors];
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[i][v] = f32{};
    }
    for (int64_t segment = 0; segment < stretches.segments; ++segment) {
        const float* at[rows];
#pragma GCC unroll 12
        for (int i = 0; i < rows; ++i) at[i] = row[i] + stretches.offset[segment];
        for (int64_t k = 0; k < stretches.length; ++k) {
            if (stretches.next != 0 && k % 16 == 0) {
#pragma GCC unroll 12
                for (int i = 0; i < rows; ++i) __builtin_prefetch(at[i] + k + stretches.next, 0, 2);
            }
            f32 column[vectors];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) column[v] = load<f32>(panel + v * lanes);
            panel += vectors * lanes;
#pragma GCC unroll 12
            for (int i = 0; i < rows; ++i) {
                const f32 value = Product::repeat(at[i] + k);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v) sum[i][v] = Product::multiply(value, column[v], sum[i][v]);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
            float* const to = sums[i] + place(v);
            store(to, fresh ? sum[i][v] : load<f32>(to) + sum[i][v]);
        }
    }
}

using MultiplyRows = void (*)(const float* const*, const Stretches&, const float*, float* const*, int64_t,
                              bool);

template <class Product, int vectors, int... rows>
MultiplyRows by_rows(int count) {
    static const MultiplyRows kernels[] = {nullptr, multiply_rows<Product, rows, vectors>...};
    return kernels[count];
}

// The kernel for `count` rows, 1 to kRowsAtOnce, and a panel of `blocks` blocks of 16 columns.
template <class Product = Singles>
MultiplyRows multiply_for(int count, int blocks) {
    constexpr int a_block = 16 / kLanes<float>;
#if GENFUSE_VECTOR_BYTES == 64
    switch (blocks) {
        case 1:
            return by_rows<Product, a_block, 1, 2, 3, 4, 5, 6>(count);
        case 2:
            return by_rows<Product, 2 * a_block, 1, 2, 3, 4, 5, 6>(count);
        case 3:
            return by_rows<Product, 3 * a_block, 1, 2, 3, 4, 5, 6>(count);
        default:
            return by_rows<Product, 4 * a_block, 1, 2, 3, 4, 5, 6>(count);
    }
#elif GENFUSE_VECTOR_BYTES == 32
    (void)blocks;
    return by_rows<Product, a_block, 1, 2, 3, 4, 5, 6>(count);
#else
    (void)blocks;
    return by_rows<Product, a_block, 1, 2>(count);
#endif
}

// The kernel for `count` rows, 1 to kNarrowRows, and a panel of kNarrowColumns columns.
template <class Product = Singles>
MultiplyRows multiply_narrow_for(int count) {
    constexpr int vectors = kNarrowColumns / kLanes<float>;
#if GENFUSE_VECTOR_BYTES == 64
    return by_rows<Product, vectors, 1, 2, 3, 4, 5, 6>(count);
#elif GENFUSE_VECTOR_BYTES == 32
    return by_rows<Product, vectors, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>(count);
#else
    return by_rows<Product, vectors, 1, 2, 3, 4>(count);
#endif
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
