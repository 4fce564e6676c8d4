// Sizes that the batched kernel and its launcher agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace batched {

constexpr int64_t kMaxPixels = 64;  // of a picture

// Taps of the output places of one phase along an axis that read a pixel, not the border.
inline int64_t live_taps(const Geometry& geometry, int axis, int32_t place, const Phase& phase,
                         int64_t* all) {
    const int64_t size = axis ? geometry.in_width : geometry.in_height;
    const int64_t out = axis ? geometry.out_width : geometry.out_height;
    int64_t live = 0;
    for (int64_t i = 0; place + i * geometry.out_step[axis] < out; ++i) {
        for (const Tap& tap : phase.taps) {
            const int64_t read = i * geometry.in_step[axis] + (axis ? tap.x : tap.y);
            live += read >= 0 && read < size;
            ++*all;
        }
    }
    return live;
}

// Whether more than half of the products would be with a border of zeros, as where a first transposed
// convolution makes 4x4 pixels of one.
inline bool applies(const genfuse_conv& conv, const Geometry& geometry) {
    if (conv.padding_mode != GENFUSE_PAD_ZEROS || conv.upsample[0] * conv.upsample[1] != 1 ||
        geometry.in_height * geometry.in_width > kMaxPixels) {
        return false;
    }
    double live = 0, all = 0;
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            int64_t of_rows = 0, of_columns = 0;
            const int64_t rows = live_taps(geometry, 0, pass.row, phase, &of_rows);
            const int64_t columns = live_taps(geometry, 1, phase.column, phase, &of_columns);
            live += static_cast<double>(rows) * static_cast<double>(columns);
            all += static_cast<double>(of_rows) * static_cast<double>(of_columns);
        }
    }
    return 2 * live < all;
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const ConvJob& job, float* memory) {
        const Geometry& geometry = *job.geometry;
        parts = (blocks_of(geometry.group_out) + job.part - 1) / job.part;
        stretches = (job.rows + job.rows_a_unit - 1) / job.rows_a_unit;
        pixels = geometry.in_height * geometry.in_width;
        out_pixels = geometry.out_height * geometry.out_width;
        sums_block = job.rows_a_unit * out_pixels * kBlock;
        staged_block = job.rows_a_unit * pixels * kBlock;
        Carver carver(memory);
        staged = carver.take<float>(blocks_of(geometry.group_in) * staged_block);
        sums = carver.take<float>(job.part * sums_block);
        residual = carver.take<float>(geometry.out_width * kBlock);
        used = carver.used();
    }

    int64_t parts, stretches, pixels, out_pixels, sums_block, staged_block;
    float *staged, *sums, *residual;
    size_t used;
};

}  // namespace batched
}  // namespace genfuse
