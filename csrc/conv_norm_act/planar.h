// Sizes that the planar kernel, its launcher and the packing of its weights agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace planar {

constexpr int kMaxOutputs = 8;  // of a group

// Floats from one group's packed weights of a phase to the next group's.
inline int64_t packed_group(const Geometry& geometry, const Phase& phase) {
    return static_cast<int64_t>(phase.taps.size()) * geometry.group_in * geometry.group_out;
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
//
// Staged rows and columns that lie a stride apart are put next to each other, on a plane for each remainder:
// then neighbouring output pixels read neighbours, and output pixel (y, x) of a unit is one of a flat run,
// number y·plane_columns + x.
struct Frame {
    __attribute__((always_inline)) Frame(const ConvJob& job, float* memory) {
        const Geometry& geometry = *job.geometry;
        const auto divided = [](int64_t size, int64_t step) { return (size + step - 1) / step; };
        row_blocks = divided(job.rows, job.rows_a_unit);
        columns = static_cast<int64_t>(geometry.columns.size());
        staged_rows =
            (job.rows_a_unit - 1) * geometry.in_step[0] + geometry.last_tap[0] - geometry.first_tap[0] + 1;
        plane_rows = divided(staged_rows, geometry.in_step[0]);
        plane_columns = divided(columns, geometry.in_step[1]);
        channel = plane_rows * plane_columns * geometry.in_step[0] * geometry.in_step[1];
        run = job.rows_a_unit * plane_columns + kBlock;
        line = geometry.out_width + kBlock;
        const int64_t runs = geometry.out_step[0] * geometry.out_step[1] * geometry.group_out;
        Carver carver(memory);
        staged = carver.take<float>(kBlock * channel + kBlock);
        pixels = carver.take<float>(columns * kBlock);
        source = carver.take<float>(job.args->width * kBlock);
        sums = carver.take<float>(runs * run);
        lines = carver.take<float>(2 * line);  // an even row and an odd one
        residual = carver.take<float>(line);
        used = carver.used();
    }

    // Where staged row `row`, column `column` of a channel lies, counted from the unit's first.
    int64_t place(const Geometry& geometry, int64_t row, int64_t column) const {
        const int64_t step_y = geometry.in_step[0], step_x = geometry.in_step[1];
        const int64_t plane = row % step_y * step_x + column % step_x;
        return (plane * plane_rows + row / step_y) * plane_columns + column / step_x;
    }

    int64_t row_blocks, columns, staged_rows, plane_rows, plane_columns;
    int64_t channel, run, line;  // floats of a staged channel, a phase's sums of an output channel, a row
    float *staged, *pixels, *source, *sums, *lines, *residual;
    size_t used;
};

}  // namespace planar
}  // namespace genfuse
