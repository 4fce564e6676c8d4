// What the kernels of the weight gradient are given, and the sizes that they and their launcher agree on.
//
// Of each weight matrix the input channels are one side and the output channels the other. One side is dealt
// with a channel at a time, the rows, and one in vectors, the lanes.
#pragma once

#include "conv_norm_act/matrix.h"
#include "conv_norm_act/weight_gradient.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {

constexpr int64_t kRoundedAUnit = 1 << 14;  // weights that are rounded to bfloat16 together

struct WeightGradientJob {
    ConvJob conv;                   // the unit as its forward kernels read it
    const genfuse_image* gradient;  // of the convolution's output
    float* weight;
    void* rounded;    // bfloat16: where the sums go at last, or NULL
    int64_t weights;  // how many
    bool accumulate;

    bool lanes_are_inputs;
    int64_t row_part, lane_part;  // blocks of a unit's rows and lanes
    // By definition: rows of a pass's output whose pixels are staged together, and samples where these are
    // all.
    int64_t rows_at_once, samples_at_once;
    int64_t stretches, slices;  // of that size in all; parts of them, whose sums are added at the end
    float* sums;                // [slice][unit of a slice]
    // Of a launch: Winograd's rows of tiles; the matrix unit's rows of a pass's output, of samples_at_once
    // samples from the first on, of one group.
    int64_t first_row, last_row, first_sample, group;
    float *inputs, *gradients;  // of these, transformed or as the matrix unit reads them
    float* memory;              // each slot's own
    int64_t memory_a_slot;      // floats

    int64_t row_channels() const {
        return lanes_are_inputs ? conv.geometry->group_out : conv.geometry->group_in;
    }
    int64_t lane_channels() const {
        return lanes_are_inputs ? conv.geometry->group_in : conv.geometry->group_out;
    }
};

// Where among the weights a group's input channel c and output channel k at kernel place (0, 0) is.
__attribute__((always_inline)) inline int64_t place_of(const WeightGradientJob& job, int64_t group, int64_t c,
                                                       int64_t k) {
    const genfuse_conv& conv = job.conv.args->conv;
    const Geometry& geometry = *job.conv.geometry;
    const int64_t row = conv.transposed ? group * geometry.group_in + c : group * geometry.group_out + k;
    const int64_t place = conv.transposed ? row * geometry.group_out + k : row * geometry.group_in + c;
    return place * conv.kernel[0] * conv.kernel[1];
}

__attribute__((always_inline)) inline float* weight_of(const WeightGradientJob& job, int64_t group, int64_t c,
                                                       int64_t k) {
    return job.weight + place_of(job, group, c, k);
}

__attribute__((always_inline)) inline int64_t parts_of(int64_t channels, int64_t part) {
    return (blocks_of(channels) + part - 1) / part;
}

// Blocks from `first` on, at most `part`.
__attribute__((always_inline)) inline int64_t blocks_there(int64_t channels, int64_t first, int64_t part) {
    const int64_t left = blocks_of(channels) - first;
    return left < part ? left : part;
}

namespace direct_gradient {

// Units of a slice.
__attribute__((always_inline)) inline int64_t units_of(const WeightGradientJob& job) {
    return job.conv.args->conv.groups * parts_of(job.row_channels(), job.row_part) *
           parts_of(job.lane_channels(), job.lane_part);
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const WeightGradientJob& job, float* memory) {
        const Geometry& geometry = *job.conv.geometry;
        columns = static_cast<int64_t>(geometry.columns.size());
        staged_rows =
            (job.rows_at_once - 1) * geometry.in_step[0] + geometry.last_tap[0] - geometry.first_tap[0] + 1;
        input_sample = staged_rows * columns * kBlock;
        input_block = job.samples_at_once * input_sample;
        gradient_pass = job.rows_at_once * geometry.out_width * kBlock;
        gradient_sample = static_cast<int64_t>(geometry.passes.size()) * gradient_pass;
        gradient_block = job.samples_at_once * gradient_sample;
        const int64_t input_part = job.lanes_are_inputs ? job.lane_part : job.row_part;
        const int64_t gradient_part = job.lanes_are_inputs ? job.row_part : job.lane_part;
        const genfuse_conv& conv = job.conv.args->conv;
        taps = int64_t{conv.kernel[0]} * conv.kernel[1];
        sums_row = job.lane_part * kBlock;
        sums_tap = job.row_part * kBlock * sums_row;
        Carver carver(memory);
        input = carver.take<float>(input_part * input_block);
        gradient = carver.take<float>(gradient_part * gradient_block);
        source = carver.take<float>((job.conv.args->width + 1) * kBlock);
        used = carver.used();
    }

    int64_t columns, staged_rows, input_sample, input_block;
    int64_t gradient_pass, gradient_sample, gradient_block, taps, sums_row, sums_tap;
    float *input, *gradient, *source;
    size_t used;
};

}  // namespace direct_gradient

namespace winograd_gradient {

constexpr int kTile = winograd::kTile, kWindow = winograd::window_of(kTile),
              kPoints = winograd::points_of(kTile);

inline int64_t phases(const Geometry& geometry) {
    return static_cast<int64_t>(geometry.out_step[0]) * geometry.out_step[1];
}

// Floats of a point's plane of transformed tiles: [block of channels][tile][16].
__attribute__((always_inline)) inline int64_t plane_of(int64_t channels, int64_t tiles) {
    return blocks_of(channels) * tiles * kBlock + winograd::kPlanePad;
}

// A slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const WeightGradientJob& job, float* memory) {
        const Geometry& geometry = *job.conv.geometry;
        tile = kTile;
        tiles_high = winograd::tiles(geometry, 0, tile);
        tiles_wide = winograd::tiles(geometry, 1, tile);
        columns = static_cast<int64_t>(geometry.columns.size());
        tiles = (job.last_row - job.first_row) * tiles_wide;
        input_plane = plane_of(job.conv.in_channels, tiles);
        gradient_plane = plane_of(job.conv.out_channels, tiles);
        sums_row = job.lane_part * kBlock;
        sums_point = job.row_part * kBlock * sums_row;
        Carver carver(memory);
        staged =
            carver.take<float>(winograd::extent(geometry, 0, tile, job.conv.rows_a_unit) * columns * kBlock);
        source = carver.take<float>(job.conv.args->width * kBlock);
        gradient_row = geometry.out_step[1] * tile * tiles_wide * kBlock;
        gradient = carver.take<float>(tile * gradient_row);
        sums = carver.take<float>(kPoints * sums_point);
        used = carver.used();
    }

    int tile;
    int64_t tiles_high, tiles_wide, columns, tiles;
    int64_t input_plane, gradient_plane, gradient_row, sums_row, sums_point;
    float *staged, *source, *gradient, *sums;
    size_t used;
};

}  // namespace winograd_gradient

namespace matrix_gradient {

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const WeightGradientJob& job, float* memory) {
        const Geometry& geometry = *job.conv.geometry;
        const int32_t *in_step = geometry.in_step, *out_step = geometry.out_step;
        const int64_t extent[2] = {geometry.last_tap[0] - geometry.first_tap[0],
                                   geometry.last_tap[1] - geometry.first_tap[1]};
        columns = static_cast<int64_t>(geometry.columns.size());
        staged_rows = (job.rows_at_once - 1) * in_step[0] + extent[0] + 1;
        const int64_t written = ceil_divide(geometry.out_width, out_step[1]),
                      read = ceil_divide(columns, in_step[1]);
        phases = int64_t{out_step[0]} * out_step[1];
        const bool has_odd = extent[1] >= in_step[1];  // distances; rows apart are even
        input_copies = has_odd && phases > 1 ? 2 : 1;
        gradient_copies = has_odd && phases == 1 ? 2 : 1;
        // A pair that begins before its row has nothing there.
        const int64_t room = input_copies > 1 ? read + 1 : read;
        pitch = matrix::whole(written > room ? written : room, 2);
        grid_rows = ceil_divide(staged_rows, in_step[0]);
        grid_sample = grid_rows * pitch;
        grid = matrix::whole(job.samples_at_once * grid_sample, matrix::kDepth);
        const int64_t ahead = extent[0] / in_step[0] * pitch + extent[1] / in_step[1];
        input_planes = in_step[0] * in_step[1];
        input_plane = (grid + matrix::whole(ahead + 1, 2)) / 2 * kBlock;
        input_block = input_planes * input_copies * input_plane;
        gradient_plane = grid / 2 * kBlock;
        gradient_block = phases * gradient_copies * gradient_plane;
        line = matrix::kDepth + grid;
        if (line % 2048 == 0) line += matrix::kDepth;  // or all would be of one set of the cache
        lines_phase = kBlock * line;
        const genfuse_conv& conv = job.conv.args->conv;
        taps = int64_t{conv.kernel[0]} * conv.kernel[1];
        sums_tap = kBlock * matrix::kPanel;
        Carver carver(memory);
        source = carver.take<float>((job.conv.args->width + 1) * kBlock);
        wide = carver.take<float>((columns > geometry.out_width ? columns : geometry.out_width) * kBlock);
        row = carver.take<float>(matrix::kPanel * taps);
        lines = carver.take<float>(out_step[1] * lines_phase / 2);
        sums = carver.take<float>(job.row_part * matrix::whole(job.lane_part, 2) / 2 * taps * sums_tap);
        used = carver.used();
    }

    int64_t columns, staged_rows;
    int64_t pitch, grid_rows, grid_sample, grid;     // pixels of a row of the grid; of a sample; of a stretch
    int64_t input_planes, input_plane, input_block;  // floats: pairs of pixels
    int64_t phases, input_copies, gradient_copies;
    int64_t gradient_plane, gradient_block;  // floats: of a copy, of 16 channels
    int64_t line, lines_phase;               // bfloat16: a channel's, with 32 of nothing in front
    int64_t taps, sums_tap;
    float *source, *wide, *sums;
    float* row;    // of an output channel's weights
    float* lines;  // of the gradient, a block of channels on its way
    size_t used;
};

}  // namespace matrix_gradient

#define GENFUSE_WEIGHT_GRADIENT_UNITS(UNIT) \
    UNIT(direct_gradient_unit)              \
    UNIT(direct_gradient_merge_unit)        \
    UNIT(matrix_gradient_input_unit)        \
    UNIT(matrix_gradient_output_unit)       \
    UNIT(matrix_gradient_sum_unit)          \
    UNIT(round_weights_unit)                \
    UNIT(winograd_gradient_input_unit)      \
    UNIT(winograd_gradient_output_unit)     \
    UNIT(winograd_gradient_sum_unit)

#define GENFUSE_DECLARE_UNIT(name) void name(const WeightGradientJob& job, int64_t unit, int slot);
namespace baseline {
GENFUSE_WEIGHT_GRADIENT_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx2 {
GENFUSE_WEIGHT_GRADIENT_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx512 {
GENFUSE_WEIGHT_GRADIENT_UNITS(GENFUSE_DECLARE_UNIT)
}
#undef GENFUSE_DECLARE_UNIT

}  // namespace genfuse
