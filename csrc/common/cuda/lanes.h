// Sums over those threads of a block that share a row of what is summed, in a fixed order.
#pragma once

#include "common/cuda/stored.h"

namespace genfuse {

// `count` threads, a power of two, are `step` apart in the block; `own`: the calling one's number.
struct Lanes {
    int count, step, own;
};

// value[c] over the lanes, the same in each of them. Called by all threads of a block, with Count·Threads
// shared elements.
template <int Threads, class T, int Count>
__device__ void lane_sums(const Lanes& lanes, T* room, T (&value)[Count]) {
    const int thread = static_cast<int>(threadIdx.x), first = thread - lanes.own * lanes.step;
    __syncthreads();  // an earlier call's have been read
#pragma unroll
    for (int c = 0; c < Count; ++c) room[c * Threads + thread] = value[c];
    for (int half = lanes.count / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lanes.own < half) {
#pragma unroll
            for (int c = 0; c < Count; ++c) {
                room[c * Threads + thread] += room[c * Threads + thread + half * lanes.step];
            }
        }
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < Count; ++c) value[c] = room[c * Threads + first];
}

}  // namespace genfuse
