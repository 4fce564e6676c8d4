// The weights of a block's outputs for one tap and one chunk of channels, in shared memory.
#pragma once

#include "common/cuda/async_copy.h"
#include "conv_norm_act/cuda_tile.h"

namespace genfuse {

// A tap and a chunk of channels; all taps of a chunk come one after the other.
struct ConvStep {
    int row = 0, column = 0, chunk = 0;

    __device__ bool begins_chunk() const { return row == 0 && column == 0; }
    __device__ void advance(const ConvSource& source) {
        if (++column < source.columns.taps) return;
        column = 0;
        if (++row < source.rows.taps) return;
        row = 0;
        ++chunk;
    }
};

template <class Stored, class Tile>
class Weights {
    using Word = Chunk<Stored>;
    static constexpr int kCount = Tile::kOutputs * Tile::kWords;  // chunks of 16 bytes

    const ConvArguments& of_;
    const ConvSource& source_;
    const ConvBlock& block_;
    Word* const ring_;

  public:
    static constexpr int kRing = kStages * kCount;

    __device__ Weights(const ConvArguments& of, const ConvSource& source, const ConvBlock& block, Word* ring)
        : of_(of), source_(source), block_(block), ring_(ring) {}

    __device__ const Word* tile(int step) const { return ring_ + step % kStages * kCount; }

    // Starts to copy the weights of step number `step`.
    __device__ void copy(int step, const ConvStep& at) const {
        const ConvWeights& weights = source_.weights;
        const int64 row = source_.rows.weight_first + at.row * source_.rows.weight_step;
        const int64 column = source_.columns.weight_first + at.column * source_.columns.weight_step;
        const Stored* const first = static_cast<const Stored*>(weights.data) + block_.group * weights.group +
                                    block_.output * weights.output + row * weights.row +
                                    column * weights.column + at.chunk * Tile::kInputs;
        const int left = static_cast<int>(source_.inputs) - at.chunk * Tile::kInputs;
        Word* const to = ring_ + step % kStages * kCount;
#pragma unroll 1
        for (int i = static_cast<int>(threadIdx.x); i < kCount; i += Tile::kThreads) {
            const int word = i % Tile::kWords, output = i / Tile::kWords;
            const bool exists = block_.output + output < of_.outputs && word * Tile::kEach < left;
            copy16(to + swizzled(output, word),
                   exists ? first + output * weights.output + word * Tile::kEach : first, exists);
        }
    }
};

}  // namespace genfuse
