// Sizes that the direct kernel, its launcher and the packing of its weights agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace direct {

// Floats from one group's packed weights of a phase to the next group's.
inline int64_t packed_group(const genfuse_conv& conv, const Geometry& geometry, const Phase& phase) {
    return static_cast<int64_t>(phase.taps.size()) * steps_of(conv, geometry.group_in) *
           padded(geometry.group_out);
}

// Whether the products can read the image where it lies: a 1x1 convolution of whole blocks of channels side
// by side, in float32, with nothing to be done to a pixel before.
__attribute__((always_inline)) inline bool reads_in_place(const ConvJob& job) {
    const genfuse_conv& conv = job.args->conv;
    return job.args->dtype == GENFUSE_FLOAT32 && is_pointwise(conv) && conv.groups == 1 &&
           conv.in_channels % kBlock == 0 && reads_plain_pixels(job);
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const ConvJob& job, float* memory) {
        const Geometry& geometry = *job.geometry;
        row_blocks = (job.rows + job.rows_a_unit - 1) / job.rows_a_unit;
        parts = (blocks_of(geometry.group_out) + job.part - 1) / job.part;
        columns = static_cast<int64_t>(geometry.columns.size());
        staged_rows =
            (job.rows_a_unit - 1) * geometry.in_step[0] + geometry.last_tap[0] - geometry.first_tap[0] + 1;
        pixel = steps_of(job.args->conv, kBlock);
        staged_block = staged_rows * columns * pixel;
        sums_row = geometry.out_width * kBlock;
        sums_block = job.rows_a_unit * sums_row;
        Carver carver(memory);
        // Where fewer than 16 channels leave no room between pixels, a vector more is written.
        in_place = reads_in_place(job);
        tight = pixel == kBlock && job.args->prologue.dropout == 0;
        staged = carver.take<float>(job.slice * staged_block + kBlock);
        source = carver.take<float>((job.args->width + 1) * kBlock);
        wide = carver.take<float>(pixel < kBlock ? staged_rows * columns * kBlock : 0);
        sums = carver.take<float>(static_cast<int64_t>(geometry.passes.size()) * job.part * sums_block);
        residual = carver.take<float>(sums_row);
        used = carver.used();
    }

    int64_t row_blocks, parts, columns, staged_rows, staged_block, sums_row, sums_block;
    int64_t pixel;  // steps of the sum, each 4 bytes, that a block of a pixel's channels takes
    float *staged, *source, *sums, *residual;
    float* wide;  // a block in float32 on its way to bfloat16
    bool in_place;
    bool tight;  // whether pixels of fewer than 16 channels lie next to each other
    size_t used;
};

}  // namespace direct
}  // namespace genfuse
