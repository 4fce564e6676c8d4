// Convolution to few output channels: pixels lie in the lanes, where output channels would leave most of them
// empty. Staged channels are planes, and a vector of one, a tap away, is multiplied by a weight for each
// output channel.
//
// A row is a row of a pass's output; a unit computes some rows of all passes, of one sample and group.
#include "conv_norm_act/planar.h"

#include "conv_norm_act/finish_planar.h"
#include "conv_norm_act/stage.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using planar::Frame;

constexpr int kMaxTaps = 4096;
constexpr int kMaxVectors = 8;
#if GENFUSE_VECTOR_BYTES == 64
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

// Vectors of pixels that are summed at once: their sums, a vector of pixels and the weights fill the
// registers.
constexpr int vectors_at_once(int outputs) {
    const int fit = (kRegisters - 1 - outputs) / outputs;
    return fit < 1 ? 1 : fit > kMaxVectors ? kMaxVectors : fit;
}

struct Unit {
    int64_t n, group, first, last;  // rows of a pass
};

// Staged channels and the weights [channel][tap][output channel] that they are multiplied by.
struct Operand {
    const float* staged;
    int64_t channels, channel_floats;
    const int64_t* offsets;  // of each tap
    int64_t taps;
    const float* weights;
};

// sums[k·run + pixel] of `vectors` vectors of pixels from `first` on, added to what is there unless `fresh`.
template <int outputs, int vectors>
void multiply(const Operand& operand, int64_t first, float* sums, int64_t run, bool fresh) {
    constexpr int lanes = kLanes<float>;
    f32 sum[outputs][vectors] = {};
    const float* weights = operand.weights;
    for (int64_t c = 0; c < operand.channels; ++c) {
        const float* const pixels = operand.staged + c * operand.channel_floats + first;
        for (int64_t tap = 0; tap < operand.taps; ++tap, weights += outputs) {
            const float* const at = pixels + operand.offsets[tap];
            f32 weight[outputs];
#pragma GCC unroll 8
            for (int k = 0; k < outputs; ++k) weight[k] = broadcast<f32>(weights[k]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v) {
                const f32 value = load<f32>(at + v * lanes);
#pragma GCC unroll 8
                for (int k = 0; k < outputs; ++k) sum[k][v] = fma(value, weight[k], sum[k][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int k = 0; k < outputs; ++k) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) {
            float* const to = sums + k * run + first + v * lanes;
            store(to, fresh ? sum[k][v] : load<f32>(to) + sum[k][v]);
        }
    }
}

// Pixels [0, pixels) of the flat run; whole vectors are read and written.
template <int outputs, int vectors = vectors_at_once(outputs)>
void multiply_run(const Operand& operand, int64_t first, int64_t pixels, float* sums, int64_t run,
                  bool fresh) {
    constexpr int64_t step = vectors * kLanes<float>;
    for (; first + step - kLanes<float> < pixels; first += step) {
        multiply<outputs, vectors>(operand, first, sums, run, fresh);
    }
    if constexpr (vectors > 1) {
        if (first < pixels) {
            multiply_run<outputs, (vectors + 1) / 2>(operand, first, pixels, sums, run, fresh);
        }
    }
}

void multiply_for(int64_t outputs, const Operand& operand, int64_t pixels, float* sums, int64_t run,
                  bool fresh) {
    static constexpr decltype(&multiply_run<1>) kernels[] = {
        multiply_run<1>, multiply_run<2>, multiply_run<3>, multiply_run<4>,
        multiply_run<5>, multiply_run<6>, multiply_run<7>, multiply_run<8>};
    static_assert(sizeof kernels / sizeof *kernels == planar::kMaxOutputs, "a kernel for each");
    kernels[outputs - 1](operand, 0, pixels, sums, run, fresh);
}

// A staged row of 16 channels a pixel, to row `row` of the first `lanes` channels' planes.
void spread(const Geometry& geometry, const Frame& frame, int64_t row, int lanes) {
    constexpr int vector = kLanes<float>;
    const int64_t columns = frame.columns;
    if (geometry.in_step[1] != 1 || columns < vector) {
        for (int64_t column = 0; column < columns; ++column) {
            float* const to = frame.staged + frame.place(geometry, row, column);
            for (int lane = 0; lane < lanes; ++lane) {
                to[lane * frame.channel] = frame.pixels[column * kBlock + lane];
            }
        }
        return;
    }
    float* const to = frame.staged + frame.place(geometry, row, 0);
    for (int first = 0; first < lanes; first += vector) {
        const int there = lanes - first < vector ? lanes - first : vector;
        for (int64_t column = 0; column < columns; column += vector) {
            if (column + vector > columns) column = columns - vector;  // the last vector overlaps
            f32 block[vector];
#pragma GCC unroll 16
            for (int i = 0; i < vector; ++i)
                block[i] = load<f32>(frame.pixels + (column + i) * kBlock + first);
            transpose(block);
            float* const at = to + first * frame.channel + column;
            if (there == vector) {
#pragma GCC unroll 16
                for (int i = 0; i < vector; ++i) store(at + i * frame.channel, block[i]);
            } else {
                for (int i = 0; i < there; ++i) store(at + i * frame.channel, block[i]);
            }
        }
    }
}

// Rows of the unit that a pass has.
int64_t rows_of(const Geometry& geometry, const Unit& unit, const Pass& pass) {
    const int64_t rows = geometry.pass_rows(pass);
    return (unit.last < rows ? unit.last : rows) - unit.first;
}

// Adds the products of `channels` staged channels, from channel c of the group on, to all phases' sums.
void multiply_block(const ConvJob& job, const Frame& frame, const Unit& unit, int64_t c, int64_t channels) {
    const Geometry& geometry = *job.geometry;
    int64_t offsets[kMaxTaps];
    float* sums = frame.sums;
    for (const Pass& pass : geometry.passes) {
        const int64_t rows = rows_of(geometry, unit, pass);
        for (const Phase& phase : pass.phases) {
            const int64_t taps = static_cast<int64_t>(phase.taps.size());
            for (int64_t i = 0; i < taps; ++i) {
                const Tap& tap = phase.taps[static_cast<size_t>(i)];
                offsets[i] =
                    frame.place(geometry, tap.y - geometry.first_tap[0], tap.x - geometry.first_tap[1]);
            }
            const float* const weights = job.args->packed + phase.packed +
                                         unit.group * planar::packed_group(geometry, phase) +
                                         c * taps * geometry.group_out;
            const Operand operand{frame.staged, channels, frame.channel, offsets, taps, weights};
            if (rows > 0) {
                const int64_t pixels = (rows - 1) * frame.plane_columns + geometry.phase_columns(phase);
                multiply_for(geometry.group_out, operand, pixels, sums, frame.run, c == 0);
            }
            sums += geometry.group_out * frame.run;
        }
    }
}

template <class Stored>
void finish_channel(const ConvJob& job, const Frame& frame, const Unit& unit, int64_t k) {
    const Geometry& geometry = *job.geometry;
    FinishPlanar<Stored> finish(job, unit.n, unit.group * geometry.group_out + k, frame.residual);
    for (int64_t row = unit.first; row < unit.last; ++row) {
        const float* sums = frame.sums + k * frame.run + (row - unit.first) * frame.plane_columns;
        for (const Pass& pass : geometry.passes) {
            const bool there = row < geometry.pass_rows(pass);
            const int64_t y = pass.row + row * geometry.out_step[0];
            float* const line = frame.lines + y % 2 * frame.line;
            for (const Phase& phase : pass.phases) {
                const int64_t columns = there ? geometry.phase_columns(phase) : 0;
                if (geometry.out_step[1] == 1) {
                    __builtin_memcpy(line, sums, static_cast<size_t>(columns) * sizeof(float));
                } else {
                    for (int64_t x = 0; x < columns; ++x) {
                        line[phase.column + x * geometry.out_step[1]] = sums[x];
                    }
                }
                sums += geometry.group_out * frame.run;
            }
            if (there) finish.row(y, geometry.out_width, line);
        }
    }
}

template <class Stored>
void run_unit(const ConvJob& job, int64_t number, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Geometry& geometry = *job.geometry;
    const int64_t first = number % frame.row_blocks * job.rows_a_unit, end = first + job.rows_a_unit;
    const int64_t sample = number / frame.row_blocks, groups = job.args->conv.groups;
    const Unit unit{sample / groups, sample % groups, first, end < job.rows ? end : job.rows};
    const int64_t staged = unit.first * geometry.in_step[0];
    const int64_t there = static_cast<int64_t>(geometry.rows.size()) - staged;
    for (int64_t c = 0; c < geometry.group_in; c += kBlock) {
        const int64_t left = geometry.group_in - c;
        const int lanes = static_cast<int>(left < kBlock ? left : kBlock);
        for (int64_t row = 0; row < frame.staged_rows && row < there; ++row) {
            stage<Stored>(job, unit.n, unit.group * geometry.group_in + c, lanes, staged + row, 1,
                          frame.source, frame.pixels);
            spread(geometry, frame, row, lanes);
        }
        multiply_block(job, frame, unit, c, lanes);
    }
    for (int64_t k = 0; k < geometry.group_out; ++k) finish_channel<Stored>(job, frame, unit, k);
}

}  // namespace

void planar_unit(const ConvJob& job, int64_t unit, int slot) {
    with_stored(job.args->dtype, [&](auto stored) { run_unit<decltype(stored)>(job, unit, slot); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
