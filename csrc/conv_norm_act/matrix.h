// Sizes that the matrix unit's kernel, its launcher and the packing of its weights agree on.
#pragma once

#include "common/divide.h"
#include "conv_norm_act/job.h"

namespace genfuse {
namespace matrix {

constexpr int kRows = 16;       // pixels of a product
constexpr int kDepth = 32;      // its input channels
constexpr int kPairs = 16;      // of them
constexpr int64_t kPanel = 32;  // output channels whose sums a unit's products keep together

__attribute__((always_inline)) inline int64_t whole(int64_t count, int64_t step) {
    return ceil_divide(count, step) * step;
}

// Whether pixels that follow each other in what is staged belong to outputs that do: the border between two
// rows is multiplied too, and rows and samples are one run.
__attribute__((always_inline)) inline bool one_run(const Geometry& geometry) {
    return geometry.in_step[0] == 1 && geometry.in_step[1] == 1;
}

// Columns of a phase's sums from one row to the next.
__attribute__((always_inline)) inline int64_t pitch_of(const Geometry& geometry) {
    const int64_t columns = ceil_divide(geometry.out_width, geometry.out_step[1]);
    return one_run(geometry) ? static_cast<int64_t>(geometry.columns.size()) : whole(columns, kRows);
}

// Blocks of 32 channels of an image; 0 of an absent one.
__attribute__((always_inline)) inline int64_t depths_of(const genfuse_image& image) {
    return image.data ? ceil_divide(image.channels, kDepth) : 0;
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const ConvJob& job, float* memory) {
        const Geometry& geometry = *job.geometry;
        row_blocks = ceil_divide(job.rows, job.rows_a_unit);
        parts = ceil_divide(blocks_of(geometry.group_out), job.part);
        columns = static_cast<int64_t>(geometry.columns.size());
        staged_rows =
            (job.rows_a_unit - 1) * geometry.in_step[0] + geometry.last_tap[0] - geometry.first_tap[0] + 1;
        staged_sample = staged_rows * columns * kPairs;
        staged_block = job.samples_a_unit * staged_sample;
        sums_row = pitch_of(geometry) * geometry.out_step[1] * kBlock;
        sums_sample = (one_run(geometry) ? staged_rows : job.rows_a_unit) * sums_row;
        // A run's last product may have pixels of nothing behind it.
        sums_block = job.samples_a_unit * sums_sample + kRows * geometry.out_step[1] * kBlock;
        const int64_t blocks = ceil_divide(geometry.group_in, kDepth);
        const genfuse_epilogue& epilogue = job.args->epilogue;
        const int64_t projected_blocks =
            epilogue.projection ? depths_of(epilogue.residual) + depths_of(epilogue.residual_skip) : 0;
        projected_block = job.samples_a_unit * sums_sample / kBlock * kPairs;
        const int64_t wider = columns > geometry.out_width ? columns : geometry.out_width;
        Carver carver(memory);
        staged = carver.take<float>(blocks * staged_block + kRows * geometry.in_step[1] * kPairs);
        source = carver.take<float>((job.args->width + 1) * kBlock);
        wide = carver.take<float>(2 * wider * kBlock);
        projected = carver.take<float>(projected_blocks * (projected_block + kRows * kPairs));
        panels = carver.take<float>(projected_blocks * job.part * kPairs * kBlock);
        sums = carver.take<float>(static_cast<int64_t>(geometry.passes.size()) * job.part * sums_block);
        residual = carver.take<float>(geometry.out_width * kBlock);
        used = carver.used();
    }

    int64_t row_blocks, parts, columns, staged_rows;
    int64_t staged_sample, staged_block;  // of 32 channels, pairs of bfloat16
    int64_t sums_row, sums_sample, sums_block;
    float *staged, *source, *sums, *residual;
    float* wide;  // a row of 32 channels in float32 on its way to bfloat16
    // Of a projected residual: its pixels where the sums' are, from 32 channels to the next; and its weights.
    int64_t projected_block;
    float *projected, *panels;
    size_t used;
};

}  // namespace matrix
}  // namespace genfuse
