// The normals of a thread's elements, each Philox block drawn once.
#pragma once

#include "common/cuda/box_muller.h"
#include "common/cuda/walk.h"

namespace genfuse {

// Shared elements that `draw` needs.
template <Order order, int Count>
constexpr int kNormalsRoom = order == kChannelsLast ? kThreads * Count : 1;

// Called by all threads of a block. In kChannelsLast a block of normals lies four pixels apart: the block's
// threads draw the tile in `room`, and each takes its own from there.
template <Order order, class Index, class T, int Count>
__device__ void draw(const Place<order, Index>& place, const PhiloxKey& key, T* room, T (&normal)[Count]) {
    if constexpr (order == kChannelsLast) {
        const uint32 channels = static_cast<uint32>(place.channels);
        const uint32 quads = static_cast<uint32>(place.end - place.tile) / 4;
        const uint64 blocks = static_cast<uint64>(place.positions) / 4;  // of a channel
        const uint64 first_block = static_cast<uint64>(place.tile / place.channels) / 4;
        __syncthreads();  // an earlier call's normals have been read
#pragma unroll
        for (int i = 0; i < Count / 4; ++i) {
            const uint32 quad = threadIdx.x + i * kThreads;
            if (quad >= quads) break;
            const uint32 group = quad / channels, channel = quad - group * channels;
            T drawn[4];
            box_muller(philox(channel * blocks + first_block + group, key), drawn);
#pragma unroll
            for (uint32 j = 0; j < 4; ++j) room[(4 * group + j) * channels + channel] = drawn[j];
        }
        __syncthreads();
        if (place.first < place.end) {
#pragma unroll
            for (int j = 0; j < Count; ++j) normal[j] = room[threadIdx.x * Count + j];
        }
    } else {
#pragma unroll
        for (int i = 0; i < Count; i += 4) {
            box_muller(philox(static_cast<uint64>(place.first + i) / 4, key), normal + i);
        }
    }
}

}  // namespace genfuse
