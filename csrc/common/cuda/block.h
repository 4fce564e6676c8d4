// Reductions and scans over a block of whole warps, in a fixed order. Called by all of its threads.
#pragma once

#include "common/cuda/stored.h"

namespace genfuse {

constexpr uint32 kAllLanes = 0xFFFFFFFFu;
constexpr int kMostWarps = 32;  // shared elements that both need

// merge(…) of all threads' values, the same in each.
template <int Threads, class T, class Merge>
__device__ T block_reduce(T value, T* room, Merge merge) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        value = merge(value, __shfl_xor_sync(kAllLanes, value, lanes));
    }
    __syncthreads();  // an earlier call's have been read
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    value = room[0];
#pragma unroll
    for (int warp = 1; warp < Threads / 32; ++warp) value = merge(value, room[warp]);
    return value;
}

template <int Threads, class T>
__device__ T block_sum(T value, T* room) {
    return block_reduce<Threads>(value, room, [](T a, T b) { return a + b; });
}

// The sum of the values of all threads before the calling one.
template <int Threads, class T>
__device__ T sum_before(T value, T* room) {
    const uint32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    T upto = value;
#pragma unroll
    for (uint32 lanes = 1; lanes < 32; lanes *= 2) {
        const T lower = __shfl_up_sync(kAllLanes, upto, lanes);
        if (lane >= lanes) upto += lower;
    }
    __syncthreads();
    if (lane == 31) room[warp] = upto;
    __syncthreads();
    T before = upto - value;
#pragma unroll
    for (uint32 earlier = 0; earlier < Threads / 32; ++earlier) {
        if (earlier < warp) before += room[earlier];
    }
    return before;
}

}  // namespace genfuse
