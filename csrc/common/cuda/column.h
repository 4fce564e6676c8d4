// How a kernel walks along the channels of pixels: a block takes some positions of a sample, a thread those
// of one access, and `members` threads share a pixel's channels.
#pragma once

#include "common/cuda/tile.h"

namespace genfuse {

// As common/cuda_tile.py fills it. `step` threads apart are those that share a pixel; a sample is `blocks`.
struct Columns {
    int64 positions, members, step, blocks;
};

template <class Stored, Order order, class Index>
struct Column {
    using Of = Access<Stored, order>;
    using Elements = Packed<Stored, Of::numel>;

    Lanes lanes;
    int64 sample;
    Index positions, position;  // the first of the thread's

    __device__ explicit Column(const Columns& columns) {
        const uint32 thread = threadIdx.x, step = static_cast<uint32>(columns.step);
        const uint32 members = static_cast<uint32>(columns.members), beside = kTileThreads / members;
        const uint32 which = step == 1 ? thread / members : thread % step;
        lanes = {static_cast<int>(members), static_cast<int>(step),
                 static_cast<int>(thread / step % members)};
        const uint32 blocks = static_cast<uint32>(columns.blocks);
        sample = blockIdx.x / blocks;
        positions = static_cast<Index>(columns.positions);
        position =
            static_cast<Index>(blockIdx.x % blocks * beside + which) * static_cast<Index>(Of::positions);
    }

    // Channels that a block takes at a time, an access of each thread, and the first of the thread's.
    __device__ int stride() const { return lanes.count * Of::channels; }
    __device__ int first() const { return lanes.own * Of::channels; }

    __device__ const Stored* address(const Operand& operand, Index channel) const {
        return static_cast<const Stored*>(operand.data) + sample * operand.batch +
               (channel * static_cast<Index>(operand.channel) +
                position * static_cast<Index>(operand.position));
    }
};

}  // namespace genfuse
