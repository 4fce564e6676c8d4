// The weight gradient by Winograd's F(3x3, 4x4): for 3x3 weights and 4x4 pixels of the gradient, 36 products
// where the definition has 144, at the same points and of the same transformed input as the forward's
// F(4x4, 3x3): the two are transposes of each other. Their sum over all tiles is transformed back once.
//
// Phases of a transposed convolution are gradients of their own, shares of a strided one inputs of their own;
// each pair of them gives other weights.
#include <type_traits>

#include "common/outer.h"
#include "conv_norm_act/weight_gradient_job.h"
#include "conv_norm_act/winograd_input.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using winograd_gradient::Frame;
using winograd_gradient::kPoints;
using winograd_gradient::kWindow;

constexpr int kTaps = 3;
constexpr int kMostPhases = 4;  // of a transposed convolution of stride 2

// The gradient as a polynomial at the points, divided as weights are (pack.cpp).
GENFUSE_INLINE void transform_gradient(const f32 (&g)[kTile], f32 (&to)[kWindow]) {
    const f32 even_a = plus_times(g[0], 0.5f, g[2]), odd_a = times(kA, plus_times(g[1], 0.5f, g[3]));
    const f32 even_b = plus_times(g[0], 2.0f, g[2]), odd_b = times(kB, plus_times(g[1], 2.0f, g[3]));
    to[0] = g[0];
    to[1] = times(-2.0f / 3, even_a + odd_a);
    to[2] = times(-2.0f / 3, even_a - odd_a);
    to[3] = times(1.0f / 6, even_b + odd_b);
    to[4] = times(1.0f / 6, even_b - odd_b);
    to[5] = g[3];
}

GENFUSE_INLINE void transform_weights(const f32 (&m)[kWindow], f32 (&to)[kTaps]) {
    const f32 even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    to[0] = m[0] + (even_a + even_b);
    to[1] = plus_times(times(kA, odd_a), kB, odd_b);
    to[2] = plus_times(plus_times(m[5], 0.5f, even_a), 2.0f, even_b);
}

// Pixels of a row of tiles: floats from one to the next, down and to the right.
struct Pixels {
    const float* first;
    int64_t down, right;
};

// A row of tiles, to `to`: a plane a point, 16 floats a tile.
void transform_gradients(const Frame& frame, const Pixels& pixels, uint64_t live, float* to) {
    for (int64_t x = 0; x < frame.tiles_wide; ++x) {
        for (int lane = 0; lane < kBlock; lane += kLanes<float>) {
            const float* const first = pixels.first + x * kTile * pixels.right + lane;
            f32 vertical[kWindow][kTile];
#pragma GCC unroll 4
            for (int j = 0; j < kTile; ++j) {
                f32 column[kTile], transformed[kWindow];
#pragma GCC unroll 4
                for (int i = 0; i < kTile; ++i) {
                    column[i] = load<f32>(first + i * pixels.down + j * pixels.right);
                }
                transform_gradient(column, transformed);
#pragma GCC unroll 6
                for (int i = 0; i < kWindow; ++i) vertical[i][j] = transformed[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < kWindow; ++i) {
                f32 transformed[kWindow];
                transform_gradient(vertical[i], transformed);
#pragma GCC unroll 6
                for (int j = 0; j < kWindow; ++j) {
                    const int point = i * kWindow + j;
                    if (!(live >> point & 1)) continue;
                    store(to + point * frame.gradient_plane + x * kBlock + lane, transformed[j]);
                }
            }
        }
    }
}

// A pass's pixels of row `tiles` of tiles of sample n, zero beyond the image.
template <class Stored>
void stage_gradient(const WeightGradientJob& job, const Frame& frame, int64_t n, int64_t k, int lanes,
                    int64_t tiles, const Pass& pass) {
    const Geometry& geometry = *job.conv.geometry;
    for (int64_t i = 0; i < kTile; ++i) {
        float* const to = frame.gradient + i * frame.gradient_row;
        const int64_t row = tiles * kTile + i;
        const int64_t filled = row < geometry.pass_rows(pass) ? geometry.out_width * kBlock : 0;
        if (filled > 0) {
            load_run<Stored>(*job.gradient, n, k, lanes, pass.row + row * geometry.out_step[0], 0,
                             geometry.out_width, to);
        }
        __builtin_memset(to + filled, 0, static_cast<size_t>(frame.gradient_row - filled) * sizeof(float));
    }
}

// A pass's pixels of a row of tiles: where they lie if 16 channels do side by side and no tile juts out of
// the image, else staged.
template <class Stored>
Pixels pass_pixels(const WeightGradientJob& job, const Frame& frame, int64_t n, int64_t k, int lanes,
                   int64_t tiles, const Pass& pass) {
    const Geometry& geometry = *job.conv.geometry;
    const genfuse_image& image = *job.gradient;
    const bool whole = (tiles + 1) * kTile <= geometry.pass_rows(pass) && lanes == kBlock &&
                       geometry.out_width == geometry.out_step[1] * kTile * frame.tiles_wide;
    if (std::is_same<Stored, float>::value && whole && image.layout == GENFUSE_CHANNELS_LAST) {
        const int64_t row = pass.row + tiles * kTile * geometry.out_step[0];
        return {row_of<const float>(image, n, k, row), geometry.out_step[0] * image.stride_h, image.stride_w};
    }
    stage_gradient<Stored>(job, frame, n, k, lanes, tiles, pass);
    return {frame.gradient, frame.gradient_row, kBlock};
}

// One block of channels of all phases of one row of tiles; `live` has the points of each phase.
template <class Stored>
void transform_row(const WeightGradientJob& job, const Frame& frame, int64_t row, int64_t block,
                   const uint64_t* live) {
    const Geometry& geometry = *job.conv.geometry;
    const int64_t n = row / frame.tiles_high, left = job.conv.out_channels - block * kBlock;
    const int lanes = static_cast<int>(left < kBlock ? left : kBlock);
    float* to = job.gradients + (block * frame.tiles + (row - job.first_row) * frame.tiles_wide) * kBlock;
    for (const Pass& pass : geometry.passes) {
        const Pixels pixels =
            pass_pixels<Stored>(job, frame, n, block * kBlock, lanes, row % frame.tiles_high, pass);
        for (const Phase& phase : pass.phases) {
            const Pixels own{pixels.first + phase.column * pixels.right, pixels.down,
                             geometry.out_step[1] * pixels.right};
            transform_gradients(frame, own, *live++, to);
            to += kPoints * frame.gradient_plane;
        }
    }
}

// What a unit transforms: rows of tiles, and neighbouring blocks, whose lines of a pixel lie together.
struct Part {
    Part(const WeightGradientJob& job, int64_t unit, int64_t blocks) {
        const int64_t parts = winograd::input_parts(blocks);
        first = job.first_row + unit / parts * job.conv.rows_a_unit;
        last = first + job.conv.rows_a_unit < job.last_row ? first + job.conv.rows_a_unit : job.last_row;
        block = unit % parts * winograd::kInputBlocks;
        end = block + winograd::kInputBlocks < blocks ? block + winograd::kInputBlocks : blocks;
    }

    int64_t first, last, block, end;
};

template <class Stored>
void output_unit(const WeightGradientJob& job, const Frame& frame, const Part& part) {
    uint64_t live[kMostPhases], *of_phase = live;
    for (const Pass& pass : job.conv.geometry->passes) {
        for (const Phase& phase : pass.phases) {
            winograd::Live points;
            points.find(*job.conv.geometry, phase, kTile);
            *of_phase++ = points.any;
        }
    }
    for (int64_t row = part.first; row < part.last; ++row) {
        for (int64_t block = part.block; block < part.end; ++block) {
            transform_row<Stored>(job, frame, row, block, live);
        }
    }
}

// What a unit sums: blocks of rows and of lanes.
struct Unit {
    int64_t row_block, row_blocks, lane_block, lane_blocks;
};

// Products of one phase and one share at one point, over all tiles.
void sum_point(const WeightGradientJob& job, const Frame& frame, const Unit& unit, const float* inputs,
               const float* gradients, float* sums) {
    const int64_t block_floats = frame.tiles * kBlock;
    const float* const rows = job.lanes_are_inputs ? gradients : inputs;
    const float* const lanes = (job.lanes_are_inputs ? inputs : gradients) + unit.lane_block * block_floats;
    const Places places{kBlock, 0, 0, block_floats};
    const Steps steps{1, 1, frame.tiles, places, places};
    int wide;
    for (int64_t lane = 0; lane < unit.lane_blocks; lane += wide) {
        wide = outer_blocks(unit.lane_blocks - lane);
        for (int64_t row = 0; row < unit.row_blocks * kBlock; row += kOuterRows) {
            const float* of_row[kOuterRows];
            float* to[kOuterRows];
            for (int i = 0; i < kOuterRows; ++i) {
                of_row[i] = rows + (unit.row_block + row / kBlock) * block_floats + row % kBlock + i;
                to[i] = sums + (row + i) * frame.sums_row + lane * kBlock;
            }
            outer_for(kOuterRows, wide)(of_row, lanes + lane * block_floats, steps, to, true);
        }
    }
}

// The weights of one row and 16 lanes from the sums at all live points: to[3·y + x][lane].
void transform_sums(const Frame& frame, const float* sums, uint64_t live,
                    float (&to)[kTaps * kTaps][kBlock]) {
    for (int lane = 0; lane < kBlock; lane += kLanes<float>) {
        f32 vertical[kTaps][kWindow];
#pragma GCC unroll 6
        for (int j = 0; j < kWindow; ++j) {
            f32 column[kWindow], transformed[kTaps];
#pragma GCC unroll 6
            for (int i = 0; i < kWindow; ++i) {
                const int point = i * kWindow + j;
                column[i] = live >> point & 1 ? load<f32>(sums + point * frame.sums_point + lane) : f32{};
            }
            transform_weights(column, transformed);
#pragma GCC unroll 3
            for (int i = 0; i < kTaps; ++i) vertical[i][j] = transformed[i];
        }
#pragma GCC unroll 3
        for (int i = 0; i < kTaps; ++i) {
            f32 transformed[kTaps];
            transform_weights(vertical[i], transformed);
#pragma GCC unroll 3
            for (int j = 0; j < kTaps; ++j) store(to[i * kTaps + j] + lane, transformed[j]);
        }
    }
}

void write_weights(const WeightGradientJob& job, const Frame& frame, const Unit& unit, uint64_t live,
                   const WindowTaps& taps) {
    const int64_t row_end = job.row_channels(), lane_end = job.lane_channels();
    const int64_t step = int64_t{job.conv.args->conv.kernel[0]} * job.conv.args->conv.kernel[1];
    for (int64_t i = 0; i < unit.row_blocks * kBlock; ++i) {
        const int64_t row = unit.row_block * kBlock + i;
        if (row >= row_end) return;
        for (int64_t block = 0; block < unit.lane_blocks; ++block) {
            float weights[kTaps * kTaps][kBlock];
            transform_sums(frame, frame.sums + i * frame.sums_row + block * kBlock, live, weights);
            const int64_t lane = (unit.lane_block + block) * kBlock, left = lane_end - lane;
            float* to = job.lanes_are_inputs ? weight_of(job, 0, lane, row) : weight_of(job, 0, row, lane);
            for (int64_t j = 0; j < kBlock && j < left; ++j, to += step) {  // a row's weights lie together
                for (int number = 0; number < taps.count; ++number) {
                    const WindowTaps::Place& place = taps.list[number];
                    float& weight = to[place.tap];
                    weight = (job.accumulate ? weight : 0.0f) + weights[place.y * kTaps + place.x][j];
                }
            }
        }
    }
}

void sum_unit(const WeightGradientJob& job, const Frame& frame, const Unit& unit) {
    const Geometry& geometry = *job.conv.geometry;
    const float* gradients = job.gradients;
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            const float* inputs = job.inputs;
            for (int share = 0; share < winograd::shares(geometry); ++share) {
                const uint64_t live = winograd::live_points(geometry, phase, share, kTile);
                for (int point = 0; point < kPoints; ++point) {
                    if (!(live >> point & 1)) continue;
                    sum_point(job, frame, unit, inputs + point * frame.input_plane,
                              gradients + point * frame.gradient_plane,
                              frame.sums + point * frame.sums_point);
                }
                write_weights(job, frame, unit, live,
                              WindowTaps(geometry, phase, share, job.conv.args->conv.kernel[1]));
                inputs += kPoints * frame.input_plane;
            }
            gradients += kPoints * frame.gradient_plane;
        }
    }
}

}  // namespace

// kInputBlocks blocks of some rows of tiles of the input, transformed; the gradient's likewise.
void winograd_gradient_input_unit(const WeightGradientJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Part part(job, unit, blocks_of(job.conv.in_channels));
    const Input input{
        job.inputs,          job.first_row, frame.input_plane, kBlock, kPoints * frame.input_plane,
        frame.tiles * kBlock};
    with_stored(job.conv.args->dtype, [&](auto stored) {
        for (int64_t block = part.block; block < part.end; ++block) {
            fill_input<decltype(stored), Singles>(job.conv, frame, input, block, part.first, part.last);
        }
    });
}

void winograd_gradient_output_unit(const WeightGradientJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Part part(job, unit, blocks_of(job.conv.out_channels));
    with_stored(job.conv.args->dtype, [&](auto stored) { output_unit<decltype(stored)>(job, frame, part); });
}

// A part of the weights, over all tiles of the launch.
void winograd_gradient_sum_unit(const WeightGradientJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t lane_parts = parts_of(job.lane_channels(), job.lane_part);
    const int64_t row = unit / lane_parts * job.row_part, part = unit % lane_parts;
    const int64_t lanes = blocks_of(job.lane_channels());
    const int64_t lane = part * lanes / lane_parts, end = (part + 1) * lanes / lane_parts;  // of equal size
    sum_unit(job, frame, {row, blocks_there(job.row_channels(), row, job.row_part), lane, end - lane});
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
