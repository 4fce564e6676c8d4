// Convolution by its definition on the processor's matrix unit, in bfloat16: 32 pixels times 32 output
// channels are summed in registers over all taps and input channels, the staged input being read where it
// lies.
//
// Its products cost a sixteenth of a vector unit's, so that staging and finishing decide: each pixel is
// staged once for all output channels, where there are units enough for the threads. A unit computes some
// rows of a sample, or all rows of several, of one group, for one part of the group's output channels.
#include "conv_norm_act/matrix.h"

#include "common/amx.h"
#include "conv_norm_act/finish.h"
#include "conv_norm_act/stage.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using matrix::Frame;
using matrix::kDepth;
using matrix::kPairs;
using matrix::kRows;

constexpr int64_t kMostTaps = 4096;
constexpr int64_t kNearSteps = 18;  // of 32 channels and a tap, whose weights for a panel take 36 KiB

struct Unit {
    int64_t sample, samples, group;
    int64_t first, last;    // rows of a pass
    int64_t block, blocks;  // output channel blocks of the group
};

// Pixels whose products run on from each other, and the way to the next such.
struct Stretch {
    int64_t number, count;
    int64_t pixels, sums;
};

// A row of 32 channels, two of float32, as factors.
void narrow_pixels(const float* first, const float* second, int64_t pixels, float* to) {
    constexpr int lanes = kLanes<float>;
    for (int64_t i = 0; i < pixels; ++i) {
        const auto value = [&](int lane) {
            return load<f32>((lane < kBlock ? first : second) + i * kBlock + lane % kBlock);
        };
#pragma GCC unroll 4
        for (int lane = 0; lane < kDepth; lane += 2 * lanes) {
            amx::store_factors(to + i * kPairs + lane / 2, value(lane), value(lane + lanes));
        }
    }
}

void clear(float* pixels, int64_t count) {
    __builtin_memset(pixels, 0, static_cast<size_t>(count * kBlock) * sizeof(float));
}

void stage_unit(const ConvJob& job, const Frame& frame, const Unit& unit) {
    const Geometry& geometry = *job.geometry;
    const int64_t first = unit.first * geometry.in_step[0], blocks = blocks_of(geometry.group_in);
    const int64_t left = static_cast<int64_t>(geometry.rows.size()) - first;
    const int64_t rows = left < frame.staged_rows ? left : frame.staged_rows;
    float* const halves[2] = {frame.wide, frame.wide + frame.columns * kBlock};
    for (int64_t block = 0; block < blocks; block += 2) {
        const int64_t there = blocks - block < 2 ? 1 : 2;
        if (there < 2) clear(halves[1], frame.columns);
        for (int64_t sample = 0; sample < unit.samples; ++sample) {
            float* const to = frame.staged + block / 2 * frame.staged_block + sample * frame.staged_sample;
            for (int64_t row = 0; row < rows; ++row) {
                for (int64_t half = 0; half < there; ++half) {
                    stage<bfloat16>(
                        job, unit.sample + sample, unit.group * geometry.group_in + (block + half) * kBlock,
                        lanes_of(geometry, block + half), first + row, 1, frame.source, halves[half]);
                }
                narrow_pixels(halves[0], halves[1], frame.columns, to + row * frame.columns * kPairs);
            }
        }
    }
}

// What one phase's products read and write.
struct Operand {
    const int64_t* tap;  // where each tap's pixels begin, from an output's own, in pairs of channels
    int64_t taps;
    int64_t block;  // from 32 channels to the next, in pairs
    int64_t pixel;  // from a pixel to the next, in pairs
    int64_t sum,
        sums_block;  // from an output pixel's sums to the next one's, and from 16 channels' to the next
};

// Adds the products of some blocks of 32 channels to the sums of 16·tall pixels and 16·wide output channels.
// A pixel's sum runs over input channels and taps in one order, wherever in a product the pixel stands.
template <int tall, int wide>
void multiply(const Operand& operand, int64_t blocks, const float* pixels, const float* panel, float* sums,
              bool fresh) {
    const int64_t pixel_bytes = operand.pixel * 4, sum_bytes = operand.sum * 4;
    float* const lower = sums + kRows * operand.sum;
    amx::begin_sums<tall, wide>(sums, lower, operand.sums_block, sum_bytes, fresh);
    for (int64_t block = 0; block < blocks; ++block) {
        for (int64_t tap = 0; tap < operand.taps; ++tap) {
            const float* const at = pixels + operand.tap[tap];
            amx::load<6>(panel, kPairs * 4);
            amx::load<4>(at, pixel_bytes);
            amx::multiply<0, 4, 6>();
            if (tall > 1) {
                amx::load<5>(at + kRows * operand.pixel, pixel_bytes);
                amx::multiply<2, 5, 6>();
            }
            if (wide > 1) {
                amx::load<7>(panel + kPairs * kBlock, kPairs * 4);
                amx::multiply<1, 4, 7>();
                if (tall > 1) amx::multiply<3, 5, 7>();
            }
            panel += wide * kPairs * kBlock;
        }
        pixels += operand.block;
    }
    amx::end_sums<tall, wide>(sums, lower, operand.sums_block, sum_bytes);
}

// The sums of a panel of output channels, `stretches` times over `count` pixels that follow each other:
// weights that fit the L1 cache meet all of them before the next ones do.
template <int wide>
void multiply_panel(const Operand& operand, int64_t blocks, const float* panel, const float* pixels,
                    float* sums, const Stretch& stretch, bool fresh) {
    const int64_t taps = operand.taps > 0 ? operand.taps : 1;
    const int64_t slice = taps < kNearSteps ? kNearSteps / taps : 1;
    for (int64_t first = 0; first < blocks; first += slice) {
        const int64_t some = blocks - first < slice ? blocks - first : slice;
        for (int64_t i = 0; i < stretch.number; ++i) {
            const float* const from = pixels + first * operand.block + i * stretch.pixels;
            float* const to = sums + i * stretch.sums;
            for (int64_t at = 0; at < stretch.count; at += 2 * kRows) {
                const auto kernel = stretch.count - at > kRows ? multiply<2, wide> : multiply<1, wide>;
                kernel(operand, some, from + at * operand.pixel, panel, to + at * operand.sum,
                       fresh && first == 0);
            }
        }
        panel += some * operand.taps * wide * kPairs * kBlock;
    }
}

void multiply_phase(const ConvJob& job, const Frame& frame, const Unit& unit, const Phase& phase,
                    int64_t rows, float* sums) {
    const Geometry& geometry = *job.geometry;
    const int64_t taps = static_cast<int64_t>(phase.taps.size()), columns = geometry.phase_columns(phase);
    int64_t offset[kMostTaps];
    for (int64_t i = 0; i < taps; ++i) {
        const Tap& tap = phase.taps[static_cast<size_t>(i)];
        offset[i] =
            ((tap.y - geometry.first_tap[0]) * frame.columns + tap.x - geometry.first_tap[1]) * kPairs;
    }
    const int64_t depth = steps_of(job.args->conv, geometry.group_in);
    const Operand operand{offset,
                          taps,
                          frame.staged_block,
                          geometry.in_step[1] * kPairs,
                          geometry.out_step[1] * kBlock,
                          frame.sums_block};
    const float* panel = job.args->packed + phase.packed +
                         unit.group * taps * depth * padded(geometry.group_out) +
                         unit.block * kBlock * depth * taps;
    const Stretch of_rows{rows, columns, geometry.in_step[0] * frame.columns * kPairs, frame.sums_row};
    const Stretch of_unit{1, ((unit.samples - 1) * frame.staged_rows + rows - 1) * frame.columns + columns, 0,
                          0};
    for (int64_t block = 0; block < unit.blocks; block += 2) {
        const bool whole = unit.blocks - block > 1;
        const auto run = whole ? multiply_panel<2> : multiply_panel<1>;
        float* const to = sums + block * frame.sums_block + phase.column * kBlock;
        if (matrix::one_run(geometry)) {
            run(operand, depth / kPairs, panel, frame.staged, to, of_unit, true);
        } else {
            for (int64_t sample = 0; sample < unit.samples; ++sample) {
                run(operand, depth / kPairs, panel, frame.staged + sample * frame.staged_sample,
                    to + sample * frame.sums_sample, of_rows, true);
            }
        }
        panel += (whole ? 2 : 1) * kBlock * depth * taps;
    }
}

// The residual's pixels as factors, where the pass has its sums.
void stage_residual(const ConvJob& job, const Frame& frame, const Unit& unit, const Pass& pass,
                    int64_t rows) {
    const Geometry& geometry = *job.geometry;
    const genfuse_epilogue& epilogue = job.args->epilogue;
    float* const halves[2] = {frame.wide, frame.wide + geometry.out_width * kBlock};
    float* of_block = frame.projected;
    for (const genfuse_image* image : {&epilogue.residual, &epilogue.residual_skip}) {
        for (int64_t block = 0; block < matrix::depths_of(*image);
             ++block, of_block += frame.projected_block) {
            const int64_t left = image->channels - block * kDepth;
            if (left <= kBlock) clear(halves[1], geometry.out_width);
            for (int64_t i = 0; i < unit.samples * rows; ++i) {
                const int64_t sample = i / rows, row = i % rows;
                for (int64_t half = 0; half < 2 && half * kBlock < left; ++half) {
                    const int64_t lanes = left - half * kBlock;
                    load_run<bfloat16>(*image, unit.sample + sample, block * kDepth + half * kBlock,
                                       static_cast<int>(lanes < kBlock ? lanes : kBlock),
                                       pass.row + (unit.first + row) * geometry.out_step[0], 0,
                                       geometry.out_width, halves[half]);
                }
                const int64_t place = (sample * frame.sums_sample + row * frame.sums_row) / kBlock;
                narrow_pixels(halves[0], halves[1], geometry.out_width, of_block + place * kPairs);
            }
        }
    }
}

// The projection's weights for the unit's output channels: [panel][32 channels][16 columns][pair][column].
void pack_projection(const ConvJob& job, const Frame& frame, const Unit& unit) {
    const genfuse_epilogue& epilogue = job.args->epilogue;
    const genfuse_image* const images[] = {&epilogue.residual, &epilogue.residual_skip};
    const int64_t channels = images[0]->channels + (images[1]->data ? images[1]->channels : 0);
    const int64_t of_group = unit.group * blocks_of(job.geometry->group_out) + unit.block;
    float* to = frame.panels;
    for (int64_t first = 0; first < unit.blocks; first += 2) {
        int64_t before = 0;
        for (const genfuse_image* image : images) {
            for (int64_t block = 0; block < matrix::depths_of(*image); ++block) {
                for (int64_t column = first; column < unit.blocks && column < first + 2; ++column) {
                    const float* const from = epilogue.projection + (of_group + column) * channels * kBlock;
                    const auto channel = [&](int64_t c, int lane) {
                        return c < image->channels ? load<f32>(from + (before + c) * kBlock + lane) : f32{};
                    };
                    for (int64_t c = block * kDepth; c < (block + 1) * kDepth; c += 2, to += kBlock) {
                        for (int lane = 0; lane < kBlock; lane += kLanes<float>) {
                            store(to + lane, paired(channel(c, lane), channel(c + 1, lane)));
                        }
                    }
                }
            }
            before += image->channels;
        }
    }
}

// Adds a 1x1 convolution of the residual to the sums of a pass.
void project_pass(const ConvJob& job, const Frame& frame, const Unit& unit, const Pass& pass, int64_t rows,
                  float* sums) {
    static constexpr int64_t in_place = 0;
    stage_residual(job, frame, unit, pass, rows);
    const genfuse_epilogue& epilogue = job.args->epilogue;
    const int64_t blocks = matrix::depths_of(epilogue.residual) + matrix::depths_of(epilogue.residual_skip);
    const int64_t before = ((unit.samples - 1) * frame.sums_sample + (rows - 1) * frame.sums_row) / kBlock;
    const Operand operand{&in_place, 1, frame.projected_block, kPairs, kBlock, frame.sums_block};
    const Stretch stretch{1, before + job.geometry->out_width, 0, 0};
    const float* panel = frame.panels;
    for (int64_t block = 0; block < unit.blocks; block += 2) {
        const bool whole = unit.blocks - block > 1;
        (whole ? multiply_panel<2> : multiply_panel<1>)(operand, blocks, panel, frame.projected,
                                                        sums + block * frame.sums_block, stretch, false);
        panel += (whole ? 2 : 1) * blocks * kPairs * kBlock;
    }
}

void finish_pass(const ConvJob& job, const Frame& frame, const Unit& unit, const Pass& pass, int64_t rows,
                 float* sums) {
    const Geometry& geometry = *job.geometry;
    for (int64_t sample = 0; sample < unit.samples; ++sample) {
        for (int64_t block = 0; block < unit.blocks; ++block) {
            const int64_t within = (unit.block + block) * kBlock, left = geometry.group_out - within;
            Finish<bfloat16> finish(job, unit.sample + sample, unit.group * geometry.group_out + within,
                                    static_cast<int>(left < kBlock ? left : kBlock), frame.residual);
            for (int64_t row = 0; row < rows; ++row) {
                const int64_t y = pass.row + (unit.first + row) * geometry.out_step[0];
                RowMoments moments;
                finish.row(
                    y, geometry.out_width,
                    sums + block * frame.sums_block + sample * frame.sums_sample + row * frame.sums_row,
                    job.partial ? &moments : nullptr);
                if (!moments.empty()) finish.keep(moments, y / job.args->epilogue.pool[0]);
            }
        }
    }
}

void run_unit(const ConvJob& job, const Frame& frame, const Unit& unit) {
    const Geometry& geometry = *job.geometry;
    const bool projects = job.args->epilogue.projection;
    genfuse_conv_norm_act_args finished = *job.args;
    ConvJob finishing = job;
    finishing.args = &finished;
    if (projects) {
        pack_projection(job, frame, unit);
        finished.epilogue.projection = nullptr;
        finished.epilogue.residual = finished.epilogue.residual_skip = genfuse_image{};
    }
    stage_unit(job, frame, unit);
    float* sums = frame.sums;
    for (const Pass& pass : geometry.passes) {
        const int64_t end = geometry.pass_rows(pass) < unit.last ? geometry.pass_rows(pass) : unit.last;
        if (end > unit.first) {
            {
                const amx::Use use;
                for (const Phase& phase : pass.phases) {
                    multiply_phase(job, frame, unit, phase, end - unit.first, sums);
                }
                if (projects) project_pass(job, frame, unit, pass, end - unit.first, sums);
            }
            finish_pass(finishing, frame, unit, pass, end - unit.first, sums);
        }
        sums += job.part * frame.sums_block;
    }
}

}  // namespace

void matrix_unit(const ConvJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Geometry& geometry = *job.geometry;
    const int64_t groups = job.args->conv.groups, batch = job.args->batch;
    const int64_t part = unit % frame.parts * job.part, blocks = blocks_of(geometry.group_out) - part;
    const int64_t first = unit / frame.parts % frame.row_blocks * job.rows_a_unit;
    const int64_t of_samples = unit / frame.parts / frame.row_blocks;
    const int64_t sample = of_samples / groups * job.samples_a_unit;
    run_unit(
        job, frame,
        {sample, batch - sample < job.samples_a_unit ? batch - sample : job.samples_a_unit,
         of_samples % groups, first, first + job.rows_a_unit < job.rows ? first + job.rows_a_unit : job.rows,
         part, blocks < job.part ? blocks : job.part});
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
