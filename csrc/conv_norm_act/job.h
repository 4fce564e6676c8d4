// What the kernels of conv_norm_act are given: the call, its geometry, its blocking and working memory.
#pragma once

#include "common/arena.h"
#include "common/cpuid.h"
#include "conv_norm_act/geometry.h"

namespace genfuse {

// What this and the kernels' own headers define is inlined everywhere: compiled for several instruction sets
// under one name, a copy with AVX code could be linked in the place of another.
constexpr int kBlock = GENFUSE_CHANNEL_BLOCK;

inline int64_t blocks_of(int64_t channels) {
    return (channels + kBlock - 1) / kBlock;
}

inline int64_t padded(int64_t channels) {
    return blocks_of(channels) * kBlock;
}

// Channels of a block of a group's input.
__attribute__((always_inline)) inline int lanes_of(const Geometry& geometry, int64_t block) {
    const int64_t left = geometry.group_in - block * kBlock;
    return static_cast<int>(left < kBlock ? left : kBlock);
}

struct PackJob;

struct ConvJob {
    const genfuse_conv_norm_act_args* args;
    const Geometry* geometry;
    int64_t in_channels, out_channels;
    const float* scale;  // (N, C): the normalisation as an affine map; NULL: none
    const float* offset;
    const float* pixel_scale;  // (N, H, W): of a norm per pixel, applied before; NULL: none
    const float* pixel_offset;
    float* partial;  // (N, partial_rows, 2, K): mean and squared deviations of some output rows; NULL: not
                     // wanted
    int64_t partial_rows;

    // Blocking: winograd.cpp and direct.cpp say what a row and a unit are.
    int64_t rows, first_row, last_row;  // rows in all, and those that this launch computes
    int64_t rows_a_unit;
    int64_t samples_a_unit;  // matrix: where a unit has all their rows
    int64_t slice;           // direct: blocks of input channels that are staged at once
    int64_t part;            // direct, matrix: blocks of output channels of a unit
    bool shares_input;  // Winograd: all threads work on one transformed input of rows [first_row, last_row)
    float* shared;      // it, where they do
    const PackJob*
        pack;  // Winograd: a unit is a part of the output channels, whose weights it packs itself; or NULL
    float* memory;          // each slot's own
    int64_t memory_a_slot;  // floats
};

// Whether pixels can be read where they lie: channels side by side in one image, with nothing to be done to
// them before they are multiplied.
__attribute__((always_inline)) inline bool reads_plain_pixels(const ConvJob& job) {
    const genfuse_conv_norm_act_args& args = *job.args;
    return args.x.layout == GENFUSE_CHANNELS_LAST && !args.skip.data && !job.scale && !job.pixel_scale &&
           args.prologue.activation == GENFUSE_IDENTITY && args.prologue.dropout == 0;
}

// A kernel that is compiled once for each instruction set: one unit, on the slot's own memory.
using ConvUnit = void (*)(const ConvJob& job, int64_t unit, int slot);

#define GENFUSE_CONV_UNITS(UNIT) \
    UNIT(winograd_unit)          \
    UNIT(winograd_input_unit)    \
    UNIT(winograd_product_unit)  \
    UNIT(winograd_part_unit)     \
    UNIT(direct_unit)            \
    UNIT(matrix_unit)            \
    UNIT(batched_unit)           \
    UNIT(planar_unit)            \
    UNIT(depthwise_unit)         \
    UNIT(identity_unit)

#define GENFUSE_DECLARE_UNIT(name) void name(const ConvJob& job, int64_t unit, int slot);
namespace baseline {
GENFUSE_CONV_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx2 {
GENFUSE_CONV_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx512 {
GENFUSE_CONV_UNITS(GENFUSE_DECLARE_UNIT)
}
#undef GENFUSE_DECLARE_UNIT

// Blocks of 16 columns of a panel of packed weights.
inline int panel_blocks(Isa isa) {
    return isa >= Isa::avx512 ? 4 : 1;
}

}  // namespace genfuse
