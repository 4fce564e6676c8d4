// Convolution of pictures so small that most taps read the border: only pixels are multiplied, each output
// pixel and tap for several samples at once.
//
// A row is a sample; a unit computes some samples, for one group and one part of the group's output channels.
// Weights are packed as the direct kernel's.
#include "conv_norm_act/batched.h"

#include "common/gemm.h"
#include "conv_norm_act/direct.h"
#include "conv_norm_act/finish.h"
#include "conv_norm_act/stage.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using batched::Frame;

struct Unit {
    int64_t group, first, last;  // samples
    int64_t block, blocks;       // output channel blocks of the group
};

// staged[block][sample][pixel][16]
template <class Stored>
void stage_samples(const ConvJob& job, const Frame& frame, const Unit& unit) {
    const Geometry& geometry = *job.geometry;
    const int64_t width = job.args->width;
    for (int64_t block = 0; block < blocks_of(geometry.group_in); ++block) {
        const int64_t c = unit.group * geometry.group_in + block * kBlock;
        const int lanes = lanes_of(geometry, block);
        float* to = frame.staged + block * frame.staged_block;
        for (int64_t n = unit.first; n < unit.last; ++n) {
            const Reader<Stored> reader(job, n, c, lanes);
            for (int64_t y = 0; y < job.args->height; ++y, to += width * kBlock) {
                reader.row(y, to);
            }
        }
    }
}

// Adds what input pixel `from` gives to output pixel `to` through one tap, of one block of input channels,
// for all samples of the unit.
void multiply_tap(const Frame& frame, const Unit& unit, const float* staged, int lanes, int64_t from,
                  int64_t to, const float* panel, int wide, float* sums, bool fresh) {
    const int64_t samples = unit.last - unit.first, no_offset = 0;
    for (int64_t first = 0; first < samples; first += kRowsAtOnce) {
        const float* rows[kRowsAtOnce];
        float* at[kRowsAtOnce];
        const int count = static_cast<int>(samples - first < kRowsAtOnce ? samples - first : kRowsAtOnce);
        for (int i = 0; i < count; ++i) {
            rows[i] = staged + ((first + i) * frame.pixels + from) * kBlock;
            at[i] = sums + ((first + i) * frame.out_pixels + to) * kBlock;
        }
        multiply_for(count, wide)(rows, {&no_offset, 1, lanes}, panel, at, frame.sums_block, fresh);
    }
}

// All taps of an output pixel that read a pixel, for one panel of `wide` blocks of output channels.
void multiply_pixel(const ConvJob& job, const Frame& frame, const Unit& unit, const Phase& phase, int64_t row,
                    int64_t column, int64_t to, int64_t panel_block, int wide) {
    const Geometry& geometry = *job.geometry;
    const int64_t taps = static_cast<int64_t>(phase.taps.size()), columns = wide * kBlock;
    const float* const packed = job.args->packed + phase.packed +
                                unit.group * direct::packed_group(job.args->conv, geometry, phase) +
                                (unit.block + panel_block) * kBlock * geometry.group_in * taps;
    float* const sums = frame.sums + panel_block * frame.sums_block;
    bool fresh = true;
    for (int64_t block = 0; block < blocks_of(geometry.group_in); ++block) {
        const int lanes = lanes_of(geometry, block);
        const float* panel = packed + block * kBlock * taps * columns;
        for (const Tap& tap : phase.taps) {
            const int64_t y = row * geometry.in_step[0] + tap.y, x = column * geometry.in_step[1] + tap.x;
            if (y >= 0 && y < geometry.in_height && x >= 0 && x < geometry.in_width) {
                multiply_tap(frame, unit, frame.staged + block * frame.staged_block, lanes,
                             y * geometry.in_width + x, to, panel, wide, sums, fresh);
                fresh = false;
            }
            panel += lanes * columns;
        }
    }
    if (!fresh) return;
    for (int64_t n = 0; n < unit.last - unit.first; ++n) {  // the border alone
        for (int block = 0; block < wide; ++block) {
            float* const at = sums + block * frame.sums_block + (n * frame.out_pixels + to) * kBlock;
            __builtin_memset(at, 0, kBlock * sizeof(float));
        }
    }
}

template <class Stored>
void finish_samples(const ConvJob& job, const Frame& frame, const Unit& unit, int64_t block) {
    const Geometry& geometry = *job.geometry;
    const int64_t within = (unit.block + block) * kBlock, left = geometry.group_out - within;
    float* sums = frame.sums + block * frame.sums_block;
    for (int64_t n = unit.first; n < unit.last; ++n) {
        Finish<Stored> finish(job, n, unit.group * geometry.group_out + within,
                              static_cast<int>(left < kBlock ? left : kBlock), frame.residual);
        for (int64_t y = 0; y < geometry.out_height; ++y, sums += geometry.out_width * kBlock) {
            RowMoments moments;
            finish.row(y, geometry.out_width, sums, job.partial ? &moments : nullptr);
            if (!moments.empty()) finish.keep(moments, y / job.args->epilogue.pool[0]);
        }
    }
}

template <class Stored>
void run_unit(const ConvJob& job, int64_t number, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Geometry& geometry = *job.geometry;
    const int64_t part = number % frame.parts, stretch = number / frame.parts % frame.stretches;
    const int64_t first = stretch * job.rows_a_unit, end = first + job.rows_a_unit;
    const int64_t left = blocks_of(geometry.group_out) - part * job.part;
    const Unit unit{number / frame.parts / frame.stretches, first, end < job.rows ? end : job.rows,
                    part * job.part, left < job.part ? left : job.part};
    stage_samples<Stored>(job, frame, unit);
    for (int64_t block = 0; block < unit.blocks; block += kPanelBlocks) {
        const int wide =
            static_cast<int>(unit.blocks - block < kPanelBlocks ? unit.blocks - block : kPanelBlocks);
        for (const Pass& pass : geometry.passes) {
            for (const Phase& phase : pass.phases) {
                for (int64_t row = 0; row < geometry.pass_rows(pass); ++row) {
                    for (int64_t column = 0; column < geometry.phase_columns(phase); ++column) {
                        const int64_t y = pass.row + row * geometry.out_step[0];
                        const int64_t x = phase.column + column * geometry.out_step[1];
                        multiply_pixel(job, frame, unit, phase, row, column, y * geometry.out_width + x,
                                       block, wide);
                    }
                }
            }
        }
    }
    for (int64_t block = 0; block < unit.blocks; ++block) finish_samples<Stored>(job, frame, unit, block);
}

}  // namespace

void batched_unit(const ConvJob& job, int64_t unit, int slot) {
    with_stored(job.args->dtype, [&](auto stored) { run_unit<decltype(stored)>(job, unit, slot); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
