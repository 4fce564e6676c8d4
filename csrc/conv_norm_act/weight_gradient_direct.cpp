// The weight gradient by its definition, for any kernel, stride, dilation and group: each weight is a sum
// over pixels, a few rows of which are staged at once, of the gradient times what its tap read.
//
// A unit sums a part of the rows and of the lanes of one group's weights, at all taps, over the whole batch.
#include "common/outer.h"
#include "conv_norm_act/stage.h"
#include "conv_norm_act/weight_gradient_job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using direct_gradient::Frame;

struct Unit {
    int64_t group;
    int64_t row_block, row_blocks, lane_block, lane_blocks;
};

// Rows [first, first + rows) of each pass: of the input all that their taps read.
template <class Stored>
void stage_rows(const WeightGradientJob& job, const Frame& frame, const Unit& unit, int64_t n,
                int64_t first) {
    const Geometry& geometry = *job.conv.geometry;
    const int64_t in_first = job.lanes_are_inputs ? unit.lane_block : unit.row_block;
    const int64_t in_blocks = job.lanes_are_inputs ? unit.lane_blocks : unit.row_blocks;
    const int64_t row = first * geometry.in_step[0];
    const int64_t left = static_cast<int64_t>(geometry.rows.size()) - row;
    for (int64_t block = 0; block < in_blocks; ++block) {
        stage<Stored>(job.conv, n, unit.group * geometry.group_in + (in_first + block) * kBlock,
                      lanes_of(geometry, in_first + block), row,
                      left < frame.staged_rows ? left : frame.staged_rows, frame.source,
                      frame.input + block * frame.input_block);
    }
    const int64_t out_first = job.lanes_are_inputs ? unit.row_block : unit.lane_block;
    const int64_t out_blocks = job.lanes_are_inputs ? unit.row_blocks : unit.lane_blocks;
    for (int64_t block = 0; block < out_blocks; ++block) {
        const int64_t within = (out_first + block) * kBlock, channels = geometry.group_out - within;
        const int lanes = static_cast<int>(channels < kBlock ? channels : kBlock);
        for (size_t pass = 0; pass < geometry.passes.size(); ++pass) {
            float* const to = frame.gradient + block * frame.gradient_block +
                              static_cast<int64_t>(pass) * frame.gradient_pass;
            const int64_t end = geometry.pass_rows(geometry.passes[pass]);
            for (int64_t i = 0; i < job.rows_at_once && first + i < end; ++i) {
                load_run<Stored>(*job.gradient, n, unit.group * geometry.group_out + within, lanes,
                                 geometry.passes[pass].row + (first + i) * geometry.out_step[0], 0,
                                 geometry.out_width, to + i * geometry.out_width * kBlock);
            }
        }
    }
}

// What one side's products read of staged pixels: of a step, of a line, of a block of channels.
struct Side {
    const float* pixels;
    int64_t step, line, block;
};

void sum_tap(const WeightGradientJob& job, const Frame& frame, const Unit& unit, int64_t lines,
             int64_t length, const Side& rows, const Side& lanes, float* sums) {
    const Steps steps{lines, length, rows.step, rows.line, lanes.step, lanes.line, lanes.block};
    for (int64_t lane = 0; lane < unit.lane_blocks; lane += kOuterBlocks) {
        const int wide =
            static_cast<int>(unit.lane_blocks - lane < kOuterBlocks ? unit.lane_blocks - lane : kOuterBlocks);
        const int64_t channels = job.row_channels() - unit.row_block * kBlock;
        for (int64_t row = 0; row < unit.row_blocks * kBlock && row < channels; row += kOuterRows) {
            const int count = static_cast<int>(channels - row < kOuterRows ? channels - row : kOuterRows);
            const float* of_row[kOuterRows];
            for (int i = 0; i < count; ++i) {
                of_row[i] = rows.pixels + (row + i) / kBlock * rows.block + (row + i) % kBlock;
            }
            outer_for(count, wide)(of_row, lanes.pixels + lane * lanes.block, steps,
                                   sums + row * frame.sums_row + lane * kBlock, frame.sums_row, false);
        }
    }
}

void sum_rows(const WeightGradientJob& job, const Frame& frame, const Unit& unit, int64_t first) {
    const Geometry& geometry = *job.conv.geometry;
    const int32_t* const kernel = job.conv.args->conv.kernel;
    for (size_t number = 0; number < geometry.passes.size(); ++number) {
        const Pass& pass = geometry.passes[number];
        const int64_t left = geometry.pass_rows(pass) - first;
        const int64_t lines = left < job.rows_at_once ? left : job.rows_at_once;
        if (lines <= 0) continue;
        for (const Phase& phase : pass.phases) {
            const Side gradient{
                frame.gradient + static_cast<int64_t>(number) * frame.gradient_pass + phase.column * kBlock,
                geometry.out_step[1] * kBlock, geometry.out_width * kBlock, frame.gradient_block};
            for (const Tap& tap : phase.taps) {
                const int64_t place =
                    (tap.y - geometry.first_tap[0]) * frame.columns + tap.x - geometry.first_tap[1];
                const Side input{frame.input + place * kBlock, geometry.in_step[1] * kBlock,
                                 geometry.in_step[0] * frame.columns * kBlock, frame.input_block};
                float* const sums = frame.sums + (tap.kernel_y * kernel[1] + tap.kernel_x) * frame.sums_tap;
                sum_tap(job, frame, unit, lines, geometry.phase_columns(phase),
                        job.lanes_are_inputs ? gradient : input, job.lanes_are_inputs ? input : gradient,
                        sums);
            }
        }
    }
}

void write_weights(const WeightGradientJob& job, const Frame& frame, const Unit& unit) {
    for (int64_t i = 0; i < unit.row_blocks * kBlock; ++i) {
        const int64_t row = unit.row_block * kBlock + i;
        if (row >= job.row_channels()) return;
        for (int64_t j = 0; j < unit.lane_blocks * kBlock; ++j) {
            const int64_t lane = unit.lane_block * kBlock + j;
            if (lane >= job.lane_channels()) break;
            const float* const sum = frame.sums + i * frame.sums_row + j;
            float* const to = job.lanes_are_inputs ? weight_of(job, unit.group, lane, row)
                                                   : weight_of(job, unit.group, row, lane);
            for (int64_t tap = 0; tap < frame.taps; ++tap) {
                to[tap] = (job.accumulate ? to[tap] : 0.0f) + sum[tap * frame.sums_tap];
            }
        }
    }
}

template <class Stored>
void run_unit(const WeightGradientJob& job, const Frame& frame, const Unit& unit) {
    __builtin_memset(frame.sums, 0, static_cast<size_t>(frame.taps * frame.sums_tap) * sizeof(float));
    for (int64_t n = 0; n < job.conv.args->batch; ++n) {
        for (int64_t first = 0; first < job.conv.rows; first += job.rows_at_once) {
            stage_rows<Stored>(job, frame, unit, n, first);
            sum_rows(job, frame, unit, first);
        }
    }
    write_weights(job, frame, unit);
}

}  // namespace

void direct_gradient_unit(const WeightGradientJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t row_parts = parts_of(job.row_channels(), job.row_part);
    const int64_t lane_parts = parts_of(job.lane_channels(), job.lane_part);
    const int64_t row = unit / lane_parts % row_parts * job.row_part,
                  lane = unit % lane_parts * job.lane_part;
    const Unit place{unit / lane_parts / row_parts, row, blocks_there(job.row_channels(), row, job.row_part),
                     lane, blocks_there(job.lane_channels(), lane, job.lane_part)};
    with_stored(job.conv.args->dtype, [&](auto stored) { run_unit<decltype(stored)>(job, frame, place); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
