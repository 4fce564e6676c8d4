// How a kernel walks over channels × positions where it must know the channel: a block takes a tile of
// channels over a span of positions, a chunk of positions after the other, a thread `kAccesses` of each
// chunk.
//
//     kRows           a channel's positions lie side by side: an access is 128 bits of one channel
//     kChannelsLast   a position's channels do: 128 bits of one position, a thread's positions follow each
//     other kPlanes         neither, or not at multiples of 16 bytes: an access is one element
//
// A tile depends on channels, positions, strides and dtype, never on the batch.
#pragma once

#include "common/cuda/lanes.h"
#include "common/cuda/walk.h"

namespace genfuse {

constexpr int kTileThreads = 256;
constexpr int kAccesses = 4;
constexpr int kAtOnce = 2;  // accesses of an image in flight, where registers are few

// As common/cuda_tile.py fills it. `lanes` threads, `step` apart, share a channel; `splits` blocks, of `span`
// positions each, share a tile's channels.
struct Tile {
    int64 channels, positions, lanes, step, channel_blocks, splits, span;
};

// Of one access: elements, and the channels and positions that they are of.
template <class Stored, Order order>
struct Access {
    static constexpr int numel = order == kPlanes ? 1 : 16 / static_cast<int>(sizeof(Stored));
    static constexpr int channels = order == kChannelsLast ? numel : 1;
    static constexpr int positions = order == kRows ? numel : 1;
};

template <class Stored, int Count>
struct alignas(Count * sizeof(Stored)) Packed {
    Stored element[Count];

    template <class T>
    __device__ void widen_to(T (&value)[Count]) const {
#pragma unroll
        for (int j = 0; j < Count; ++j) value[j] = widen(element[j]);
    }
};

template <class Stored, int Count>
__device__ Packed<Stored, Count> load_packed(const Stored* from) {
    return *reinterpret_cast<const Packed<Stored, Count>*>(from);
}

template <int Count, class T, class Stored>
__device__ void store_packed(const T (&value)[Count], Stored* to) {
    if constexpr (Count == 1) {
        narrow(value[0], to);
    } else {
        Packed<Stored, Count> packed;
#pragma unroll
        for (int j = 0; j < Count; ++j) narrow(value[j], &packed.element[j]);
        uint32 word[4];
        memcpy(word, &packed, sizeof(word));
        store16(to, word);
    }
}

// Where a thread is in its tile.
template <class Stored, Order order, class Index>
struct Spot {
    using Of = Access<Stored, order>;

    Lanes lanes;
    int64 sample;
    uint32 split;
    Index channels, positions;
    Index channel;     // the first of the thread's
    Index begin, end;  // of the block's positions
    Index chunk;       // positions that the block takes at a time

    __device__ explicit Spot(const Tile& tile) {
        const uint32 thread = threadIdx.x, step = static_cast<uint32>(tile.step);
        const uint32 along = static_cast<uint32>(tile.lanes);
        const uint32 member = step == 1 ? thread / along : thread % step;
        lanes = {static_cast<int>(along), static_cast<int>(step), static_cast<int>(thread / step % along)};
        const uint32 splits = static_cast<uint32>(tile.splits);
        const uint32 blocks = static_cast<uint32>(tile.channel_blocks), which = blockIdx.x / splits;
        sample = which / blocks;
        split = blockIdx.x % splits;
        channels = static_cast<Index>(tile.channels);
        positions = static_cast<Index>(tile.positions);
        channel = static_cast<Index>(which % blocks * (kTileThreads / along) + member) *
                  static_cast<Index>(Of::channels);
        begin = static_cast<Index>(split) * static_cast<Index>(tile.span);
        end = min(begin + static_cast<Index>(tile.span), positions);
        chunk = static_cast<Index>(along * kAccesses * Of::positions);
    }

    // Of the thread's access i in the chunk that begins at `start`.
    __device__ Index position(Index start, int i) const {
        if (order == kChannelsLast) return start + static_cast<Index>(lanes.own * kAccesses + i);
        return start + static_cast<Index>((i * lanes.count + lanes.own) * Of::positions);
    }
    __device__ bool exists(Index position) const { return channel < channels && position < end; }

    // Whether the thread stands for its channels in what is written once a channel and span.
    __device__ bool leads() const { return lanes.own == 0 && channel < channels; }

    __device__ Stored* address(const Operand& operand, Index position) const {
        return static_cast<Stored*>(operand.data) + sample * operand.batch +
               (channel * static_cast<Index>(operand.channel) +
                position * static_cast<Index>(operand.position));
    }

    // Some of a chunk's accesses, those that exist; 0 in the place of the others.
    template <int Count>
    __device__ void load(const Operand& operand, Index start, int first,
                         Packed<Stored, Of::numel> (&packed)[Count]) const {
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            const Index at = position(start, first + i);
            packed[i] = {};
            if (exists(at)) packed[i] = load_packed<Stored, Of::numel>(address(operand, at));
        }
    }
};

}  // namespace genfuse
