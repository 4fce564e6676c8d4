// Dropout's mask: a function of seed, stream and the element's logical index (conv_norm_act/spec.py), a bit
// an element, drawn again wherever it is needed.
#pragma once

#include "common/cuda/philox.h"
#include "common/cuda/tile.h"

namespace genfuse {

constexpr uint32 kStreamDropout = 3;  // philox_normal/spec.py, STREAM_DROPOUT

// `seeds` null: nothing is dropped. Kept is what has 23 bits of at least `threshold`, times `keep`.
struct DropoutArguments {
    const int64* seeds;
    int64 stream, threshold;
    double keep;
};

// Of a sample. Made anew for each chunk: kept, the key of every round would take registers.
class Mask {
    const PhiloxKey key_;
    const uint32 threshold_;

  public:
    __device__ Mask(const DropoutArguments& arguments, int64 sample)
        : key_{static_cast<uint64>(arguments.seeds[sample]), static_cast<uint32>(arguments.stream),
               kStreamDropout},
          threshold_(static_cast<uint32>(arguments.threshold)) {}

    // Of the four elements of a Philox block.
    __device__ uint32 of_block(uint64 block) const {
        const PhiloxWords words = philox(block, key_);
        uint32 kept = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) kept |= static_cast<uint32>(words.word[i] >> 9 >= threshold_) << i;
        return kept;
    }

    // Of an access to `positions` pixels from `position` on; `channel` counts those before the image, too.
    template <class Stored, Order order>
    __device__ uint32 of_access(int64 channel, int64 position, int64 positions) const {
        using Of = Access<Stored, order>;
        const uint64 first = static_cast<uint64>(channel * positions + position);
        uint32 kept = 0;
        if constexpr (order == kRows) {  // whole blocks
#pragma unroll
            for (int j = 0; j < Of::numel; j += 4) kept |= of_block((first + j) / 4) << j;
        } else {
#pragma unroll 1
            for (int j = 0; j < Of::numel; ++j) {
                const uint64 element = first + static_cast<uint64>(j * positions);
                kept |= (of_block(element / 4) >> (element & 3) & 1u) << j;
            }
        }
        return kept;
    }

    // Of the thread's accesses in a chunk, one after the other.
    template <class Stored, Order order, class Index>
    __device__ uint32 of_chunk(const Spot<Stored, order, Index>& spot, int64 first_channel,
                               Index start) const {
        using Of = Access<Stored, order>;
        const int64 channel = first_channel + spot.channel, positions = spot.positions;
        uint32 kept = 0;
        if (order == kChannelsLast && positions % 4 == 0) {  // a block of each channel is the thread's
            const uint64 first = static_cast<uint64>(channel * positions + spot.position(start, 0));
#pragma unroll 1
            for (int j = 0; j < Of::numel; ++j) {
                const uint32 four = of_block((first + static_cast<uint64>(j * positions)) / 4);
#pragma unroll
                for (int i = 0; i < kAccesses; ++i) kept |= (four >> i & 1u) << (i * Of::numel + j);
            }
        } else {
#pragma unroll 1
            for (int i = 0; i < kAccesses; ++i) {
                const Index position = spot.position(start, i);
                kept |= of_access<Stored, order>(channel, position, positions) << (i * Of::numel);
            }
        }
        return kept;
    }
};

// What is not finite stays NaN where it is dropped. `kept` has the bits of an access.
template <int Count>
__device__ void drop(const DropoutArguments& arguments, uint32 kept, float (&value)[Count]) {
    const float keep = static_cast<float>(arguments.keep);
#pragma unroll
    for (int j = 0; j < Count; ++j) value[j] *= kept >> j & 1u ? keep : 0.0f;
}

}  // namespace genfuse
