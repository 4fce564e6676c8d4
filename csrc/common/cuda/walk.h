// How a kernel walks over samples: a block takes a tile of one sample, a thread `kElements` of it.
//
//     kFlat           memory order, the same in every tensor: 128-bit accesses
//     kChannelsLast   memory order of dense channels-last samples, likewise; the logical index, which noise
//                     goes by, is another
//     kPlanes         logical order, a sample as channels × positions, each tensor with its own two strides
//
// In the first two a sample is a whole number of threads' elements, and aligned to 16 bytes.
#pragma once

#include "common/cuda/store16.h"
#include "common/cuda/stored.h"

namespace genfuse {

constexpr int kThreads = 128;  // of a block that walks over one tile

enum Order { kFlat, kChannelsLast, kPlanes, kRows };  // the last: tile.h's

// Of a thread: one 128-bit access where there are such, and at least one Philox block.
template <class Stored, Order order>
constexpr int kElements = order != kPlanes && sizeof(Stored) < 4 ? 16 / static_cast<int>(sizeof(Stored)) : 4;

// A tensor; `data` null: absent. Strides in elements.
struct Operand {
    void* data;
    int64 batch, channel, position;
};

// Sizes of a sample; `tile` elements a block, `tiles` a sample.
struct Walk {
    int64 tiles, tile, channels, positions;
};

// The elements of a thread.
template <Order order, class Index>
struct Place {
    int64 sample;
    Index channels, positions;
    Index tile, end;          // of the block's tile, in elements of the sample
    Index first;              // of the thread
    Index channel, position;  // of `first`, in kPlanes

    __device__ Place(const Walk& walk, int64 sample, uint32 which, int elements)
        : sample(sample),
          channels(static_cast<Index>(walk.channels)),
          positions(static_cast<Index>(walk.positions)),
          tile(static_cast<Index>(which) * static_cast<Index>(walk.tile)),
          end(min(tile + static_cast<Index>(walk.tile), channels * positions)),
          first(tile + static_cast<Index>(threadIdx.x) * elements),
          channel(order == kPlanes ? first / positions : 0),
          position(order == kPlanes ? first - channel * positions : 0) {}

    // The block's own tile, in a grid of `tiles` a sample.
    __device__ Place(const Walk& walk, int elements)
        : Place(walk, blockIdx.x / static_cast<uint32>(walk.tiles),
                blockIdx.x % static_cast<uint32>(walk.tiles), elements) {}
};

template <class Stored>
struct alignas(16) Chunk {
    Stored element[16 / sizeof(Stored)];
};

// visit(j, offset) for each element of the thread that exists, in kPlanes.
template <int Count, class Index, class Visit>
__device__ void visit_planes(const Operand& operand, const Place<kPlanes, Index>& place, Visit visit) {
    Index channel = place.channel, position = place.position;
#pragma unroll
    for (int j = 0; j < Count; ++j) {
        if (place.first + j < place.end) {
            visit(j, channel * static_cast<Index>(operand.channel) +
                         position * static_cast<Index>(operand.position));
        }
        const bool wraps = ++position == place.positions;
        channel += wraps;
        position = wraps ? 0 : position;
    }
}

template <class Stored, Order order, class Index, class T, int Count>
__device__ void load(const Operand& operand, const Place<order, Index>& place, T (&value)[Count]) {
    const Stored* const from = static_cast<const Stored*>(operand.data) + place.sample * operand.batch;
    if constexpr (order == kPlanes) {
        visit_planes<Count>(operand, place, [&](int j, Index offset) { value[j] = widen(from[offset]); });
    } else if (place.first < place.end) {
        constexpr int lanes = 16 / sizeof(Stored);
#pragma unroll
        for (int i = 0; i < Count; i += lanes) {
            const Chunk<Stored> chunk = *reinterpret_cast<const Chunk<Stored>*>(from + place.first + i);
#pragma unroll
            for (int j = 0; j < lanes; ++j) value[i + j] = widen(chunk.element[j]);
        }
    }
}

template <class Stored, Order order, class Index, class T, int Count>
__device__ void store(const Operand& operand, const Place<order, Index>& place, const T (&value)[Count]) {
    Stored* const to = static_cast<Stored*>(operand.data) + place.sample * operand.batch;
    if constexpr (order == kPlanes) {
        visit_planes<Count>(operand, place, [&](int j, Index offset) { narrow(value[j], to + offset); });
    } else if (place.first < place.end) {
        constexpr int lanes = 16 / sizeof(Stored);
#pragma unroll
        for (int i = 0; i < Count; i += lanes) {
            Chunk<Stored> chunk;
#pragma unroll
            for (int j = 0; j < lanes; ++j) narrow(value[i + j], &chunk.element[j]);
            uint32 word[4];
            memcpy(word, &chunk, sizeof(word));
            store16(to + place.first + i, word);
        }
    }
}

}  // namespace genfuse
