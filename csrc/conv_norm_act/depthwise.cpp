// Convolution in groups of few channels, depthwise above all. The lanes are output channels, as everywhere,
// but each has inputs of its own: staged copy j has, in each lane, input channel j of that lane's group.
//
// A row is a row of a pass's output; a unit computes some rows of all passes, of one sample, for some blocks
// of output channels, one after the other.
#include "conv_norm_act/depthwise.h"

#include "conv_norm_act/depthwise_in_place.h"
#include "conv_norm_act/finish.h"
#include "conv_norm_act/stage.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using depthwise::Frame;
using depthwise::Span;

constexpr int kPixels = 8;  // summed at once

struct Unit {
    int64_t n, block, first, last;  // rows of a pass
};

// sums[pixel·out_pitch] = Σ rows[offsets[i] + pixel·in_pitch]·weights[i], each lane for itself.
struct Products {
    const int64_t* offsets;
    int64_t count;
    const float* weights;
    int64_t in_pitch, out_pitch;
};

template <int pixels>
void multiply(const Products& products, const float* row, float* sums) {
    for (int part = 0; part < kBlock; part += kLanes<float>) {
        f32 sum[pixels] = {};
        const float* weights = products.weights + part;
        for (int64_t i = 0; i < products.count; ++i, weights += kBlock) {
            const float* const at = row + products.offsets[i] + part;
            const f32 weight = load<f32>(weights);
#pragma GCC unroll 8
            for (int p = 0; p < pixels; ++p)
                sum[p] = fma(load<f32>(at + p * products.in_pitch), weight, sum[p]);
        }
#pragma GCC unroll 8
        for (int p = 0; p < pixels; ++p) store(sums + p * products.out_pitch + part, sum[p]);
    }
}

template <int pixels = kPixels>
void multiply_row(const Products& products, int64_t count, const float* row, float* sums) {
    for (; count >= pixels; count -= pixels) {
        multiply<pixels>(products, row, sums);
        row += pixels * products.in_pitch;
        sums += pixels * products.out_pitch;
    }
    if constexpr (pixels > 1) multiply_row<pixels / 2>(products, count, row, sums);
}

// The lanes of a staged copy, from `blocks` blocks of staged input channels of a row.
class Gather {
  public:
    // Lane `lane` reads channel from[lane].
    Gather(const int64_t (&from)[kBlock], int64_t blocks) {
        for (int part = 0; part < kParts; ++part) {
            const int64_t* const own = from + part * kLanes<float>;
            first_[part] = own[0] / kLanes<float>;
            const int64_t last = blocks * kParts - 1;
            second_[part] = first_[part] < last ? first_[part] + 1 : last;
            for (int lane = 0; lane < kLanes<float>; ++lane) {
                const int64_t within = own[lane] - first_[part] * kLanes<float>;
                near_ &= within < 2 * kLanes<float>;
                within_[part][lane] = static_cast<int32_t>(within);
            }
        }
        __builtin_memcpy(from_, from, sizeof from_);
    }

    void row(const float* pixels, int64_t columns, float* to) const {
        const int64_t block_floats = columns * kBlock;
        for (int64_t i = 0; i < block_floats; i += kBlock) {
            if (!near_) {
                for (int lane = 0; lane < kBlock; ++lane) {
                    to[i + lane] = pixels[from_[lane] / kBlock * block_floats + i + from_[lane] % kBlock];
                }
                continue;
            }
            for (int part = 0; part < kParts; ++part) {
                const auto vector = [&](int64_t number) {
                    const int64_t within = number % kParts * kLanes<float>;
                    return load<f32>(pixels + number / kParts * block_floats + i + within);
                };
                store(to + i + part * kLanes<float>,
                      pick(vector(first_[part]), vector(second_[part]), within_[part]));
            }
        }
    }

  private:
    int64_t from_[kBlock];
    int64_t first_[kParts], second_[kParts];  // vectors that a part's channels lie in, where they are near
    i32 within_[kParts];
    bool near_ = true;
};

template <class Stored>
void stage_copies(const ConvJob& job, const Frame& frame, const Unit& unit) {
    const Geometry& geometry = *job.geometry;
    const Span span = depthwise::span_of(geometry, job.out_channels, unit.block);
    const int64_t first = unit.first * geometry.in_step[0], blocks = blocks_of(span.channels);
    const int64_t all = static_cast<int64_t>(geometry.rows.size()) - first;
    const int64_t rows = all < frame.staged_rows ? all : frame.staged_rows;
    const auto stage_block = [&](int64_t block, int64_t row, int64_t count, float* to) {
        const int64_t left = span.channels - block * kBlock;
        stage<Stored>(job, unit.n, span.first + block * kBlock,
                      static_cast<int>(left < kBlock ? left : kBlock), first + row, count, frame.source, to);
    };
    if (geometry.group_in == 1 && geometry.group_out == 1) {
        stage_block(0, 0, rows, frame.staged);
        return;
    }
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t block = 0; block < blocks; ++block) {
            stage_block(block, row, 1, frame.pixels + block * frame.columns * kBlock);
        }
        for (int64_t j = 0; j < geometry.group_in; ++j) {
            int64_t from[kBlock];
            for (int lane = 0; lane < kBlock; ++lane) {
                const int64_t k = unit.block * kBlock + lane;
                const int64_t group = (k < job.out_channels ? k : job.out_channels - 1) / geometry.group_out;
                from[lane] = group * geometry.group_in + j - span.first;
            }
            const Gather gather(from, blocks);
            gather.row(frame.pixels, frame.columns,
                       frame.staged + j * frame.staged_copy + row * frame.columns * kBlock);
        }
    }
}

// Where the products of all phases read: staged copies, and taps within one.
void fill_offsets(const Geometry& geometry, const Frame& frame) {
    int64_t* to = frame.offsets;
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            for (int64_t j = 0; j < geometry.group_in; ++j) {
                for (const Tap& tap : phase.taps) {
                    const int64_t y = tap.y - geometry.first_tap[0], x = tap.x - geometry.first_tap[1];
                    *to++ = j * frame.staged_copy + (y * frame.columns + x) * kBlock;
                }
            }
        }
    }
}

// One block of output channels of some rows.
template <class Stored>
void run_block(const ConvJob& job, const Frame& frame, const Unit& unit) {
    const Geometry& geometry = *job.geometry;
    stage_copies<Stored>(job, frame, unit);
    const int64_t k = unit.block * kBlock, left = job.out_channels - k;
    Finish<Stored> finish(job, unit.n, k, static_cast<int>(left < kBlock ? left : kBlock), frame.residual);
    const int64_t line = geometry.in_step[0] * frame.columns * kBlock;
    for (int64_t row = unit.first; row < unit.last; ++row) {
        const int64_t* offsets = frame.offsets;
        for (const Pass& pass : geometry.passes) {
            const bool there = row < geometry.pass_rows(pass);
            const int64_t y = pass.row + row * geometry.out_step[0];
            float* const sums = frame.sums + y % 2 * geometry.out_width * kBlock;
            for (const Phase& phase : pass.phases) {
                const Products products{
                    offsets, static_cast<int64_t>(phase.taps.size()) * geometry.group_in,
                    job.args->packed + phase.packed + unit.block * depthwise::packed_block(geometry, phase),
                    geometry.in_step[1] * kBlock, geometry.out_step[1] * kBlock};
                multiply_row(products, there ? geometry.phase_columns(phase) : 0,
                             frame.staged + (row - unit.first) * line, sums + phase.column * kBlock);
                offsets += products.count;
            }
            if (!there) continue;
            RowMoments moments;
            finish.row(y, geometry.out_width, sums, job.partial ? &moments : nullptr);
            if (!moments.empty()) finish.keep(moments, y / job.args->epilogue.pool[0]);
        }
    }
}

template <class Stored>
void run_unit(const ConvJob& job, int64_t number, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t part = number % frame.parts, stretch = number / frame.parts % frame.row_blocks;
    const int64_t n = number / frame.parts / frame.row_blocks;
    const int64_t first = stretch * job.rows_a_unit, end = first + job.rows_a_unit;
    if (depthwise::reads_in_place(job)) {
        const int64_t last = (part + 1) * job.part, stop = last < frame.out_blocks ? last : frame.out_blocks;
        const DepthwiseInPlace<Stored> in_place(job, frame, n);
        for (int64_t row = first; row < end && row < job.rows; ++row)
            in_place.row(row, part * job.part, stop);
        return;
    }
    fill_offsets(*job.geometry, frame);
    for (int64_t block = part * job.part; block < (part + 1) * job.part && block < frame.out_blocks;
         ++block) {
        run_block<Stored>(job, frame, {n, block, first, end < job.rows ? end : job.rows});
    }
}

}  // namespace

void depthwise_unit(const ConvJob& job, int64_t unit, int slot) {
    with_stored(job.args->dtype, [&](auto stored) { run_unit<decltype(stored)>(job, unit, slot); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
