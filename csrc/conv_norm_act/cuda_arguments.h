// What the kernel of conv_norm_act is told, as cuda_impl.py and cuda_plan.py fill it: eight bytes a field.
#pragma once

#include "common/cuda/stored.h"

namespace genfuse {

// (N, C, H, W), strides in elements; `data` null: absent.
struct ConvImage {
    void* data;
    int64 batch, channel, row, column;
};

// Of a group, an output channel in it, and a tap's row and column; inputs lie beside each other.
struct ConvWeights {
    const void* data;
    int64 group, output, row, column;
};

// (count,), or with a stride of samples (N, count); float32, or like the images.
struct ConvVector {
    const void* data;
    int64 is_float, batch;
};

// One axis of a source. Its tile holds `halo` pixels, `spacing` apart from `low` + `step`·(the block's
// number) on; pixel m of the block's reads with tap t the tile's pixel m·stride + tap_first + t·tap_step, and
// meets weight weight_first + t·weight_step. In a row of shared memory pixels 2^spread apart lie beside each
// other, `beside` of them, where the stride is an odd multiple of that: as at an odd stride, those that
// neighbours of the block read with one tap meet all banks.
struct ConvAxis {
    int64 size, upsample, step, low, spacing, halo, beside, spread, stride, taps, tap_first, tap_step,
        weight_first, weight_step;
};

// What a sum reads: x and, behind its channels, skip, whose `inputs` channels of a group meet the weights.
// The first channel of a group is its number times `group_channels`.
struct ConvSource {
    ConvImage x, skip;
    ConvWeights weights;
    const void* norm;  // (N, channels, 4): mean, factor and offset behind it; null: none
    int64 activation, x_channels, channels, inputs, group_channels, mode, ring;
    int64 span;  // chunks of `inputs` of a segment
    ConvAxis rows, columns;
};

// One axis of what is made: pixel m of a launch is the output's pixel phase + m·phase_step; the blocks' tiles
// are 2^tile pixels each.
struct ConvMade {
    int64 made, tile, tiles, phase, phase_step;
};

struct ConvArguments {
    ConvImage out, residual;
    ConvVector bias, shift;
    double* moments;  // (3, parts, N·K), may be null
    int64 first_part, parts;
    int64 sources;  // 1, or 2 with a projected residual
    ConvSource source[2];
    ConvMade rows, columns;
    int64 batch, samples;  // the latter of a block
    int64 outputs, all_outputs, out_activation;
    int64 output_blocks;  // of all groups
    int64 blocks;         // whose sums finish: tiles of pixels by blocks of outputs
    int64 segments;       // of each sum: one begins with 0, and their totals are added in order
    int64 totals;         // where a block that sums all of them keeps theirs in shared memory, in bytes
    float* partial;  // (segments, blocks, a block's sums), of segments in blocks of their own; null: in one
    int64 folds;     // whether those are there already
    double slope, scale;
};

// What the unit read where its gradient is written: x and, behind its channels, skip.
struct ConvRead {
    ConvImage x, skip;
    const void* norm;  // (N, channels, 4): mean, rstd, scale and offset; null: none
    double* sums;      // (2, parts, N, channels): Σg and Σg·x̂ of each channel; null: nobody needs them
    int64 parts, first_part;
    int64 x_channels, activation;
    int64 ends;  // at x: the gradient goes through norm and activation; else at what the convolution read
};

struct DataGradientArguments {
    ConvArguments of;
    ConvRead read;
};

// source[0] is gathered by the taps, source[1] dense: it has a pixel for each that is made, and `of.outputs`
// of its channels meet the gathered ones. A block takes some taps and chunks of gathered channels, and a span
// of the tiles of all samples.
struct WeightGradientArguments {
    ConvArguments of;
    float* partial;  // (splits, of all groups' outputs, taps, row)
    int64 row;       // gathered channels of a group, in whole chunks
    int64 splits, span, tiles;
    int64 taps, tap_blocks;      // taps of a block, and blocks of a chunk
    int64 chunks, chunk_blocks;  // likewise
    float* sums;  // of the dense image over a tile's pixels: (tiles, parts, samples, all outputs); null:
                  // nobody needs them
};

enum PaddingMode { kZeros, kReflect, kCircular };

}  // namespace genfuse
