// Sizes that the direct kernel, its launcher and the packing of its weights agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace direct {

// Floats from one group's packed weights of a phase to the next group's.
inline int64_t packed_group(const Geometry& geometry, const Phase& phase) {
    return static_cast<int64_t>(phase.taps.size()) * geometry.group_in * padded(geometry.group_out);
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    Frame(const ConvJob& job, float* memory) {
        const Geometry& geometry = *job.geometry;
        row_blocks = (job.rows + job.rows_a_unit - 1) / job.rows_a_unit;
        parts = (blocks_of(geometry.group_out) + job.part - 1) / job.part;
        columns = static_cast<int64_t>(geometry.columns.size());
        staged_rows =
            (job.rows_a_unit - 1) * geometry.in_step[0] + geometry.last_tap[0] - geometry.first_tap[0] + 1;
        staged_block = staged_rows * columns * kBlock;
        sums_row = geometry.out_width * kBlock;
        sums_block = job.rows_a_unit * sums_row;
        Carver carver(memory);
        staged = carver.take<float>(job.slice * staged_block + kBlock);  // a vector more, for tight pixels
        source = carver.take<float>((job.args->width + 1) * kBlock);
        sums = carver.take<float>(static_cast<int64_t>(geometry.passes.size()) * job.part * sums_block);
        residual = carver.take<float>(sums_row);
        used = carver.used();
    }

    int64_t row_blocks, parts, columns, staged_rows, staged_block, sums_row, sums_block;
    float *staged, *source, *sums, *residual;
    size_t used;
};

}  // namespace direct
}  // namespace genfuse
