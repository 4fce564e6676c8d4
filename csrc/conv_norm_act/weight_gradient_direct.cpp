// The weight gradient by its definition, for any kernel, stride, dilation and group: each weight is a sum
// over pixels of the gradient times what its tap read.
//
// Pixels are staged in stretches: some rows of a sample, or some small samples whole. A unit sums a part of
// the rows and of the lanes of one group's weights, at all taps, over one slice of the stretches; where there
// are several slices, their sums are added in order at the end.
#include "common/outer.h"
#include "conv_norm_act/stage.h"
#include "conv_norm_act/weight_gradient_job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using direct_gradient::Frame;
using direct_gradient::units_of;

struct Unit {
    Unit(const WeightGradientJob& job, const Frame& frame, int64_t number) {
        const int64_t row_parts = parts_of(job.row_channels(), job.row_part);
        const int64_t lane_parts = parts_of(job.lane_channels(), job.lane_part);
        group = number / lane_parts / row_parts;
        row_block = number / lane_parts % row_parts * job.row_part;
        row_blocks = blocks_there(job.row_channels(), row_block, job.row_part);
        lane_block = number % lane_parts * job.lane_part;
        lane_blocks = blocks_there(job.lane_channels(), lane_block, job.lane_part);
        sums = job.sums + number * frame.taps * frame.sums_tap;
    }

    int64_t group, row_block, row_blocks, lane_block, lane_blocks;
    float* sums;  // of the first slice: [tap][row][lane]
};

struct Stretch {
    Stretch(const WeightGradientJob& job, int64_t number) {
        const int64_t in_sample = (job.conv.rows + job.rows_at_once - 1) / job.rows_at_once;
        sample = number / in_sample * job.samples_at_once;
        const int64_t left = job.conv.args->batch - sample;
        samples = left < job.samples_at_once ? left : job.samples_at_once;
        row = number % in_sample * job.rows_at_once;
    }

    int64_t sample, samples;
    int64_t row;  // of each pass
};

template <class Stored>
void stage_inputs(const WeightGradientJob& job, const Frame& frame, const Unit& unit,
                  const Stretch& stretch) {
    const Geometry& geometry = *job.conv.geometry;
    const int64_t first = job.lanes_are_inputs ? unit.lane_block : unit.row_block;
    const int64_t blocks = job.lanes_are_inputs ? unit.lane_blocks : unit.row_blocks;
    const int64_t row = stretch.row * geometry.in_step[0];
    const int64_t left = static_cast<int64_t>(geometry.rows.size()) - row;
    for (int64_t n = 0; n < stretch.samples; ++n) {
        for (int64_t block = 0; block < blocks; ++block) {
            stage<Stored>(
                job.conv, stretch.sample + n, unit.group * geometry.group_in + (first + block) * kBlock,
                lanes_of(geometry, first + block), row, left < frame.staged_rows ? left : frame.staged_rows,
                frame.source, frame.input + block * frame.input_block + n * frame.input_sample);
        }
    }
}

template <class Stored>
void stage_gradients(const WeightGradientJob& job, const Frame& frame, const Unit& unit,
                     const Stretch& stretch) {
    const Geometry& geometry = *job.conv.geometry;
    const int64_t first = job.lanes_are_inputs ? unit.row_block : unit.lane_block;
    const int64_t blocks = job.lanes_are_inputs ? unit.row_blocks : unit.lane_blocks;
    for (int64_t n = 0; n < stretch.samples; ++n) {
        for (int64_t block = 0; block < blocks; ++block) {
            const int64_t within = (first + block) * kBlock, channels = geometry.group_out - within;
            const int lanes = static_cast<int>(channels < kBlock ? channels : kBlock);
            float* to = frame.gradient + block * frame.gradient_block + n * frame.gradient_sample;
            for (const Pass& pass : geometry.passes) {
                const int64_t left = geometry.pass_rows(pass) - stretch.row;
                for (int64_t i = 0; i < job.rows_at_once && i < left; ++i) {
                    load_run<Stored>(*job.gradient, stretch.sample + n,
                                     unit.group * geometry.group_out + within, lanes,
                                     pass.row + (stretch.row + i) * geometry.out_step[0], 0,
                                     geometry.out_width, to + i * geometry.out_width * kBlock);
                }
                to += frame.gradient_pass;
            }
        }
    }
}

// Rows of the sums that are being collected until there are enough of them.
struct Rows {
    const float* from[kOuterRows];
    float* sums[kOuterRows];
    int count = 0;
};

void sum_rows(const float* lanes, const Steps& steps, int wide, Rows& rows) {
    outer_for(rows.count, wide)(rows.from, lanes, steps, rows.sums, false);
    rows.count = 0;
}

// All taps of a phase. Where the lanes are the gradient's, which no tap moves, rows of all taps go together.
void sum_phase(const WeightGradientJob& job, const Frame& frame, const Unit& unit, const Stretch& stretch,
               const Phase& phase, const float* gradient, int64_t lines, float* sums) {
    const Geometry& geometry = *job.conv.geometry;
    const Places of_gradient{geometry.out_step[1] * kBlock, geometry.out_width * kBlock,
                             frame.gradient_sample, frame.gradient_block};
    const Places of_input{geometry.in_step[1] * kBlock, geometry.in_step[0] * frame.columns * kBlock,
                          frame.input_sample, frame.input_block};
    const bool swapped = job.lanes_are_inputs;
    const Steps steps{stretch.samples, lines, geometry.phase_columns(phase), swapped ? of_gradient : of_input,
                      swapped ? of_input : of_gradient};
    const int64_t left = job.row_channels() - unit.row_block * kBlock;
    const int64_t channels = left < unit.row_blocks * kBlock ? left : unit.row_blocks * kBlock;
    int wide;
    for (int64_t lane = 0; lane < unit.lane_blocks; lane += wide) {
        wide = outer_blocks(unit.lane_blocks - lane);
        Rows rows;
        for (size_t number = 0; number < phase.taps.size(); ++number) {
            const Tap& tap = phase.taps[number];
            const float* const input =
                frame.input +
                ((tap.y - geometry.first_tap[0]) * frame.columns + tap.x - geometry.first_tap[1]) * kBlock;
            const float* const lanes = (swapped ? input : gradient) + lane * steps.lanes.block;
            const int64_t place = tap.kernel_y * job.conv.args->conv.kernel[1] + tap.kernel_x;
            const bool last = swapped || number + 1 == phase.taps.size();
            for (int64_t row = 0; row < channels; ++row) {
                rows.from[rows.count] =
                    (swapped ? gradient : input) + row / kBlock * steps.rows.block + row % kBlock;
                rows.sums[rows.count++] =
                    sums + place * frame.sums_tap + row * frame.sums_row + lane * kBlock;
                if (rows.count == kOuterRows || (last && row + 1 == channels)) {
                    sum_rows(lanes, steps, wide, rows);
                }
            }
        }
    }
}

template <class Stored>
void sum_stretch(const WeightGradientJob& job, const Frame& frame, const Unit& unit, const Stretch& stretch,
                 float* sums) {
    const Geometry& geometry = *job.conv.geometry;
    stage_inputs<Stored>(job, frame, unit, stretch);
    stage_gradients<Stored>(job, frame, unit, stretch);
    const float* of_pass = frame.gradient;
    for (const Pass& pass : geometry.passes) {
        const int64_t left = geometry.pass_rows(pass) - stretch.row;
        const int64_t lines = left < job.rows_at_once ? left : job.rows_at_once;
        for (const Phase& phase : pass.phases) {
            if (lines <= 0 || geometry.phase_columns(phase) <= 0) continue;
            sum_phase(job, frame, unit, stretch, phase, of_pass + phase.column * kBlock, lines, sums);
        }
        of_pass += frame.gradient_pass;
    }
}

}  // namespace

void direct_gradient_unit(const WeightGradientJob& job, int64_t number, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t units = units_of(job), slice = number / units;
    const Unit unit(job, frame, number % units);
    const int64_t floats = frame.taps * frame.sums_tap;
    float* const sums = unit.sums + slice * units * floats;
    __builtin_memset(sums, 0, static_cast<size_t>(floats) * sizeof(float));
    const int64_t end = job.stretches * (slice + 1) / job.slices;
    for (int64_t stretch = job.stretches * slice / job.slices; stretch < end; ++stretch) {
        with_stored(job.conv.args->dtype, [&](auto stored) {
            sum_stretch<decltype(stored)>(job, frame, unit, Stretch(job, stretch), sums);
        });
    }
}

// Some of all weights, whose sums are complete, in bfloat16.
void round_weights_unit(const WeightGradientJob& job, int64_t number, int) {
    const int64_t first = number * kRoundedAUnit, left = job.weights - first;
    narrow_run(job.weight + first, left < kRoundedAUnit ? left : kRoundedAUnit,
               static_cast<bfloat16*>(job.rounded) + first);
}

// All slices' sums of a unit, as weights.
void direct_gradient_merge_unit(const WeightGradientJob& job, int64_t number, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Unit unit(job, frame, number);
    const int64_t slice_floats = units_of(job) * frame.taps * frame.sums_tap;
    for (int64_t i = 0; i < unit.row_blocks * kBlock; ++i) {
        const int64_t row = unit.row_block * kBlock + i;
        if (row >= job.row_channels()) return;
        for (int64_t j = 0; j < unit.lane_blocks * kBlock; ++j) {
            const int64_t lane = unit.lane_block * kBlock + j;
            if (lane >= job.lane_channels()) break;
            float* const to = job.lanes_are_inputs ? weight_of(job, unit.group, lane, row)
                                                   : weight_of(job, unit.group, row, lane);
            for (int64_t tap = 0; tap < frame.taps; ++tap) {
                const float* const sums = unit.sums + tap * frame.sums_tap + i * frame.sums_row + j;
                float sum = sums[0];
                for (int64_t slice = 1; slice < job.slices; ++slice) sum += sums[slice * slice_floats];
                to[tap] = (job.accumulate ? to[tap] : 0.0f) + sum;
            }
        }
    }
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
