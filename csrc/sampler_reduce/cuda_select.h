// An order statistic of magnitudes by radix selection: the bits of numbers that are not negative order like
// the numbers, NaN above all. A pass counts the next 11 bits of the values that share the prefix found so
// far, in shared memory: three passes in float, six in double, without a sort and without memory.
#pragma once

#include "common/cuda/block.h"

namespace genfuse {

// As wide as a number: its bits, or a count of as many elements as an index reaches.
template <int Bytes>
struct Unsigned {
    using type = uint32;
};
template <>
struct Unsigned<8> {
    using type = uint64;
};

constexpr int kDigit = 11, kBins = 1 << kDigit;

__device__ inline uint32 magnitude_bits(float value) {
    return __float_as_uint(value) & 0x7FFFFFFFu;
}
__device__ inline uint64 magnitude_bits(double value) {
    return static_cast<uint64>(__double_as_longlong(value)) & 0x7FFFFFFFFFFFFFFFull;
}
__device__ inline float of_bits(uint32 bits) {
    return __uint_as_float(bits);
}
__device__ inline double of_bits(uint64 bits) {
    return __longlong_as_double(static_cast<int64>(bits));
}

template <class Count>
struct Bins {
    Count count[kBins];
    Count room[kMostWarps];
    Count rank;  // within the bin found
    uint32 found;

    template <int Threads>
    __device__ void clear() {
        __syncthreads();
        for (int bin = threadIdx.x; bin < kBins; bin += Threads) count[bin] = 0;
        __syncthreads();
    }

    // The bin of the value of rank `wanted`; one thread finds it.
    template <int Threads>
    __device__ void find(Count wanted) {
        constexpr int own = kBins / Threads;
        const int first = static_cast<int>(threadIdx.x) * own;
        __syncthreads();
        Count sum = 0;
#pragma unroll
        for (int i = 0; i < own; ++i) sum += count[first + i];
        const Count before = sum_before<Threads>(sum, room);
        if (before <= wanted && wanted < before + sum) {
            Count left = wanted - before;
            int bin = first;
            while (left >= count[bin]) left -= count[bin++];
            rank = left;
            found = static_cast<uint32>(bin);
        }
        __syncthreads();
    }
};

// What `select` finds: the value, and how many equal ones there are from its rank on.
template <class Bits, class Count>
struct Selected {
    Bits bits;
    Count from_here;
};

// each(use) calls use(bits) for the thread's values.
template <int Threads, class Bits, class Count, class Each>
__device__ Selected<Bits, Count> select(Count rank, Bins<Count>* bins, Each each) {
    Selected<Bits, Count> selected{0, 0};
    for (int open = 8 * sizeof(Bits) - 1; open > 0;) {
        const int width = open < kDigit ? open : kDigit, shift = open - width;
        bins->template clear<Threads>();
        each([&](Bits bits) {
            if (bits >> open == selected.bits)
                atomicAdd(&bins->count[bits >> shift & ((1 << width) - 1)], Count(1));
        });
        bins->template find<Threads>(rank);
        rank = bins->rank;
        selected = {selected.bits << width | bins->found, bins->count[bins->found] - rank};
        open = shift;
    }
    return selected;
}

}  // namespace genfuse
