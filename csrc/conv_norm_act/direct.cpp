// Convolution by its definition, for any kernel, stride, dilation and group: the staged input is multiplied
// where it lies, a tap at a time, without unfolding it (an implicit matrix product).
//
// A row is a row of a pass's output; a unit computes some rows of all passes, of one sample and group, for
// one part of the group's output channels.
#include "conv_norm_act/direct.h"

#include "common/gemm.h"
#include "conv_norm_act/finish.h"
#include "conv_norm_act/stage.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using direct::Frame;

constexpr int64_t kMaxStretches = 4096;  // taps times blocks of a slice

struct Unit {
    int64_t n, group, first, last;  // rows of a pass
    int64_t block, blocks;          // output channel blocks of the group
};

// Taps from a row's first on that read pixels next to each other: all of a row's, or one.
int64_t adjacent_taps(const Phase& phase) {
    const std::vector<Tap>& taps = phase.taps;
    size_t count = 1;
    while (count < taps.size() && taps[count].y == taps[0].y && taps[count].x == taps[count - 1].x + 1)
        ++count;
    return taps.empty() ? 0 : static_cast<int64_t>(count);
}

// Pixels as the products of one phase read them; `row` and `pixel` steps of the sum from one to the next.
struct Operand {
    const float* pixels;
    int64_t row, pixel;
    Stretches stretches;
};

// The stretches of `blocks` staged blocks of `lanes` channels each; `offsets` is room for where they begin.
// Taps next to each other read one stretch where there is no room between pixels.
Operand operand_of(const ConvJob& job, const Frame& frame, const Phase& phase, const float* staged,
                   int64_t blocks, int lanes, int64_t* offsets) {
    const Geometry& geometry = *job.geometry;
    const int64_t steps = steps_of(job.args->conv, lanes), pixel = frame.tight ? steps : frame.pixel;
    const int64_t adjacent = pixel == steps || phase.taps.empty() ? adjacent_taps(phase) : 1;
    int64_t count = 0;
    for (int64_t block = 0; block < blocks; ++block) {
        for (size_t first = 0; first < phase.taps.size(); first += static_cast<size_t>(adjacent)) {
            const Tap& tap = phase.taps[first];
            offsets[count++] =
                block * frame.staged_block +
                ((tap.y - geometry.first_tap[0]) * frame.columns + tap.x - geometry.first_tap[1]) * pixel;
        }
    }
    return {staged, frame.columns * pixel, pixel, {offsets, count, adjacent * steps}};
}

// Blocks [slice, slice + blocks) of the image, where nothing has to be done to it: neighbouring channels are
// one stretch.
Operand operand_in_place(const ConvJob& job, const Unit& unit, int64_t slice, int64_t blocks) {
    static constexpr int64_t no_offset = 0;
    const genfuse_image& x = job.args->x;
    const float* const pixels = row_of<const float>(x, unit.n, slice * kBlock, unit.first);
    return {pixels, x.stride_h, x.stride_w, {&no_offset, 1, blocks * kBlock}};
}

// Adds some staged blocks' products to the sums of one phase, for one panel of packed weights.
template <class Product>
void multiply_pixels(const Geometry& geometry, const Frame& frame, const Unit& unit, const Phase& phase,
                     const Operand& operand, const float* panel, int wide, float* sums, bool fresh) {
    const int64_t columns = geometry.phase_columns(phase);
    const float* rows[kRowsAtOnce];
    float* to[kRowsAtOnce];
    int count = 0;
    for (int64_t row = unit.first; row < unit.last; ++row) {
        const int64_t y = row - unit.first;
        const float* from = operand.pixels + y * geometry.in_step[0] * operand.row;
        float* sum = sums + y * frame.sums_row + phase.column * kBlock;
        for (int64_t x = 0; x < columns; ++x) {
            rows[count] = from + x * geometry.in_step[1] * operand.pixel;
            to[count] = sum + x * geometry.out_step[1] * kBlock;
            const bool last = row + 1 == unit.last && x + 1 == columns;
            if (++count == kRowsAtOnce || last) {
                multiply_for<Product>(count, wide)(rows, operand.stretches, panel, to, frame.sums_block,
                                                   fresh);
                count = 0;
            }
        }
    }
}

// All phases of a pass, for staged blocks [slice, slice + blocks) of the group's input.
template <class Product>
void multiply_slice(const ConvJob& job, const Frame& frame, const Unit& unit, const Pass& pass, int64_t slice,
                    int64_t blocks, float* sums) {
    const Geometry& geometry = *job.geometry;
    const genfuse_conv& conv = job.args->conv;
    const int64_t depth = steps_of(conv, geometry.group_in);
    int64_t rows = geometry.pass_rows(pass);
    Unit rows_there = unit;
    if (rows_there.last > rows) rows_there.last = rows;
    if (rows_there.first >= rows_there.last) return;
    int64_t offsets[kMaxStretches];
    for (const Phase& phase : pass.phases) {
        const int64_t taps = static_cast<int64_t>(phase.taps.size());
        const int last_lanes = lanes_of(geometry, slice + blocks - 1);
        const int64_t whole = last_lanes == kBlock ? blocks : blocks - 1;
        const Operand all = frame.in_place
                                ? operand_in_place(job, unit, slice, blocks)
                                : operand_of(job, frame, phase, frame.staged, whole, kBlock, offsets);
        const Operand rest = operand_of(job, frame, phase, frame.staged + whole * frame.staged_block,
                                        blocks - whole, last_lanes, offsets + all.stretches.segments);
        const float* packed = job.args->packed + phase.packed +
                              unit.group * direct::packed_group(conv, geometry, phase) +
                              unit.block * kBlock * depth * taps;
        for (int64_t block = 0; block < unit.blocks; block += kPanelBlocks) {
            const int wide =
                static_cast<int>(unit.blocks - block < kPanelBlocks ? unit.blocks - block : kPanelBlocks);
            const int64_t columns = wide * kBlock;
            const float* const panel = packed + slice * frame.pixel * taps * columns;
            float* const to = sums + block * frame.sums_block;
            if (whole > 0 || taps == 0) {
                multiply_pixels<Product>(geometry, frame, rows_there, phase, all, panel, wide, to,
                                         slice == 0);
            }
            if (whole < blocks && taps > 0) {
                multiply_pixels<Product>(geometry, frame, rows_there, phase, rest,
                                         panel + whole * frame.pixel * taps * columns, wide, to,
                                         slice == 0 && whole == 0);
            }
            packed += depth * taps * columns;
        }
    }
}

template <class Stored>
void finish_pass(const ConvJob& job, const Frame& frame, const Unit& unit, const Pass& pass, float* sums) {
    const Geometry& geometry = *job.geometry;
    const int64_t rows = geometry.pass_rows(pass);
    for (int64_t block = 0; block < unit.blocks; ++block) {
        const int64_t within = (unit.block + block) * kBlock;
        const int64_t left = geometry.group_out - within;
        Finish<Stored> finish(job, unit.n, unit.group * geometry.group_out + within,
                              static_cast<int>(left < kBlock ? left : kBlock), frame.residual);
        for (int64_t row = unit.first; row < unit.last && row < rows; ++row) {
            const int64_t y = pass.row + row * geometry.out_step[0];
            RowMoments moments;
            finish.row(y, geometry.out_width,
                       sums + block * frame.sums_block + (row - unit.first) * frame.sums_row,
                       job.partial ? &moments : nullptr);
            if (!moments.empty()) finish.keep(moments, y / job.args->epilogue.pool[0]);
        }
    }
}

// A block of channels of some rows, as the products read them.
template <class Stored>
void stage_block(Singles, const ConvJob& job, const Frame& frame, int64_t n, int64_t c, int lanes,
                 int64_t row, int64_t rows, float* to) {
    const int pitch = frame.tight ? lanes : kBlock;
    stage_pixels<Stored>(job, n, c, lanes, pitch, row, rows, frame.source, to);
}

template <class Stored>
void stage_block(Pairs, const ConvJob& job, const Frame& frame, int64_t n, int64_t c, int lanes, int64_t row,
                 int64_t rows, float* to) {
    stage<Stored>(job, n, c, lanes, row, rows, frame.source, frame.wide);
    bfloat16* const pairs = reinterpret_cast<bfloat16*>(to);
    for (int64_t i = 0; i < rows * frame.columns * kBlock; i += kLanes<float>) {
        narrow(pairs + i, load<f32>(frame.wide + i));
    }
}

template <class Stored, class Product>
void stage_slice(const ConvJob& job, const Frame& frame, const Unit& unit, int64_t slice, int64_t blocks) {
    const Geometry& geometry = *job.geometry;
    const int64_t first = unit.first * geometry.in_step[0];
    const int64_t all = static_cast<int64_t>(geometry.rows.size()) - first;
    for (int64_t block = 0; block < blocks; ++block) {
        stage_block<Stored>(
            Product(), job, frame, unit.n, unit.group * geometry.group_in + (slice + block) * kBlock,
            lanes_of(geometry, slice + block), first, all < frame.staged_rows ? all : frame.staged_rows,
            frame.staged + block * frame.staged_block);
    }
}

template <class Stored, class Product>
void run_unit(const ConvJob& job, const Frame& frame, const Unit& unit) {
    const Geometry& geometry = *job.geometry;
    const int64_t pass_floats = job.part * frame.sums_block;
    const int64_t in_blocks = blocks_of(geometry.group_in);
    for (int64_t slice = 0; slice < in_blocks; slice += job.slice) {
        const int64_t blocks = in_blocks - slice < job.slice ? in_blocks - slice : job.slice;
        if (!frame.in_place) stage_slice<Stored, Product>(job, frame, unit, slice, blocks);
        for (size_t pass = 0; pass < geometry.passes.size(); ++pass) {
            multiply_slice<Product>(job, frame, unit, geometry.passes[pass], slice, blocks,
                                    frame.sums + static_cast<int64_t>(pass) * pass_floats);
        }
    }
    for (size_t pass = 0; pass < geometry.passes.size(); ++pass) {
        finish_pass<Stored>(job, frame, unit, geometry.passes[pass],
                            frame.sums + static_cast<int64_t>(pass) * pass_floats);
    }
}

}  // namespace

void direct_unit(const ConvJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Geometry& geometry = *job.geometry;
    const int64_t part = unit % frame.parts, row_block = unit / frame.parts % frame.row_blocks;
    const int64_t sample = unit / frame.parts / frame.row_blocks, groups = job.args->conv.groups;
    const int64_t first = row_block * job.rows_a_unit, left = blocks_of(geometry.group_out) - part * job.part;
    const Unit place{sample / groups, sample % groups,
                     first,           first + job.rows_a_unit < job.rows ? first + job.rows_a_unit : job.rows,
                     part * job.part, left < job.part ? left : job.part};
    with_factors(job.args->dtype, job.args->conv.product, [&](auto stored, auto factors) {
        run_unit<decltype(stored), decltype(factors)>(job, frame, place);
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
