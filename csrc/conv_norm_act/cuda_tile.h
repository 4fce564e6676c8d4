// Sizes of a block of the convolution, and where it is.
#pragma once

#include "common/cuda/walk.h"
#include "conv_norm_act/cuda_arguments.h"

namespace genfuse {

// How factors are multiplied: as they are on tensor cores (float32 as TF32), float32 in three TF32 products,
// or without tensor cores.
enum Precision { kOneProduct, kThreeProducts, kFused };

constexpr int kSegmentedPixels = 64;  // of a block whose sums may have segments
constexpr int kStages = 3;            // of weights: on their way, arrived and in use

// A pixel, or an output's weights of a tap, is kWords chunks of 16 bytes.
template <class Stored, int Pixels, int Outputs>
struct ConvTile {
    static constexpr int kPixels = Pixels, kOutputs = Outputs;
    static constexpr int kWarpPixels = sizeof(Stored) < 4 ? 64 : 32, kWarpOutputs = 32;
    static constexpr int kWarpColumns = Outputs / kWarpOutputs;
    static constexpr int kThreads = Pixels / kWarpPixels * kWarpColumns * 32;
    static constexpr int kEach = 16 / static_cast<int>(sizeof(Stored));  // elements of a chunk
    static constexpr int kWords = 4;
    static constexpr int kInputs = kWords * kEach;  // channels that a tile holds
    static constexpr int kSumsRow = Outputs + 8;  // of floats in shared memory: fragments meet no bank twice
};

// Where chunk `word` of row `row` lies, in chunks: eight rows one below the other meet all banks.
__device__ inline int swizzled(int row, int word) {
    return row * 4 + (word ^ (row >> 1 & 3));
}

// The block's pixels and outputs; neighbouring blocks share their pixels.
struct ConvBlock {
    int sample, row, column;  // first ones; row and column in tiles
    int group, output;        // the latter of the group

    __device__ ConvBlock(const ConvArguments& of, int outputs)
        : ConvBlock(of, outputs,
                    blockIdx.x % static_cast<uint32>(of.blocks) / static_cast<uint32>(of.output_blocks),
                    blockIdx.x % static_cast<uint32>(of.output_blocks)) {}

    // Of the tile of pixels number `pixels`, and the block of outputs number `of_outputs` of all groups.
    __device__ ConvBlock(const ConvArguments& of, int outputs, uint32 pixels, uint32 of_outputs) {
        const uint32 tiles_h = static_cast<uint32>(of.rows.tiles),
                     tiles_w = static_cast<uint32>(of.columns.tiles);
        const uint32 blocks = static_cast<uint32>((of.outputs + outputs - 1) / outputs);
        group = static_cast<int>(of_outputs / blocks);
        output = static_cast<int>(of_outputs % blocks) * outputs;
        column = static_cast<int>(pixels % tiles_w);
        pixels /= tiles_w;
        row = static_cast<int>(pixels % tiles_h);
        sample = static_cast<int>(pixels / tiles_h * static_cast<uint32>(of.samples));
    }
};

// One of the block's pixels.
struct ConvPixel {
    int sample, row, column;  // of the block

    __device__ ConvPixel(const ConvArguments& of, int number) {
        const int width = static_cast<int>(of.columns.tile), height = static_cast<int>(of.rows.tile);
        column = number & ((1 << width) - 1);
        row = number >> width & ((1 << height) - 1);
        sample = number >> (width + height);
    }
};

}  // namespace genfuse
