// 3x3 convolution by Winograd's F(4x4, 3x3) (Lavin & Gray 2016) with the points 0, ±√½, ±√2, ∞: 36 products
// where the definition has 144. Their error is a quarter of that with ±1, ±2. By F(2x2, 3x3) with the points
// 0, ±1, ∞: 16 products for 36, of weights that take less than half as many bytes. And, at stride 1, by
// F(6x6, 3x3) with the points 0, ±1, ±½, ±2, ∞: 64 products for 324; on average no other ±a, ±b, ±c
// amplify roundings less.
//
// A row is a row of tiles of one sample's output, counted through the batch. All phases of a transposed
// convolution share the transformed input. The shares of a strided one (winograd.h) are summed before the
// output is transformed: of a 4x4 kernel of stride 2, 100 products for 256, of a 3x3 one, 81 for 144.
#include "conv_norm_act/ahead.h"
#include "conv_norm_act/finish.h"
#include "conv_norm_act/pack_job.h"
#include "conv_norm_act/winograd_input.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using winograd::Frame;
using winograd::kPart;
using winograd::kPartBlocks;
using winograd::Live;
using winograd::points_of;
using winograd::Slice;

// Aᵀm.
GENFUSE_INLINE void transform_output(const f32 (&m)[window_of(kSmallTile)], f32 (&to)[kSmallTile]) {
    to[0] = m[0] + (m[1] + m[2]);
    to[1] = m[3] + (m[1] - m[2]);
}

GENFUSE_INLINE void transform_output(const f32 (&m)[window_of(kTile)], f32 (&to)[kTile]) {
    const f32 even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    to[0] = m[0] + (even_a + even_b);
    to[1] = plus_times(times(kA, odd_a), kB, odd_b);
    to[2] = plus_times(times(0.5f, even_a), 2.0f, even_b);
    to[3] = plus_times(plus_times(m[5], 0.5f * kA, odd_a), 2.0f * kB, odd_b);
}

GENFUSE_INLINE void transform_output(const f32 (&m)[window_of(kLargeTile)], f32 (&to)[kLargeTile]) {
    const f32 even_1 = m[1] + m[2], even_h = m[3] + m[4], even_2 = m[5] + m[6];
    const f32 odd_1 = m[1] - m[2], odd_h = m[3] - m[4], odd_2 = m[5] - m[6];
    to[0] = (m[0] + even_1) + (even_h + even_2);
    to[1] = plus_times(plus_times(odd_1, 0.5f, odd_h), 2.0f, odd_2);
    to[2] = plus_times(plus_times(even_1, 0.25f, even_h), 4.0f, even_2);
    to[3] = plus_times(plus_times(odd_1, 0.125f, odd_h), 8.0f, odd_2);
    to[4] = plus_times(plus_times(even_1, 0.0625f, even_h), 16.0f, even_2);
    to[5] = plus_times(plus_times(m[7] + odd_1, 0.03125f, odd_h), 32.0f, odd_2);
}

// What `tiles` tiles get at one point of one slice, for one panel of `wide` blocks of output channels.
template <class Product>
void multiply_tiles(const Frame& frame, const Input& input, int point, const Slice& slice, int64_t first,
                    int64_t tiles, const float* panel, int wide, float* sums, bool fresh) {
    const int64_t no_offset = 0;
    const float* const from = input.data + point * input.plane + first * frame.depth +
                              slice.share * frame.share_depth + slice.begin;
    const Stretches stretches{&no_offset, 1, slice.steps,
                              point + 1 < frame.points ? input.plane : -point * input.plane};
    for (int64_t tile = 0; tile < tiles; tile += kRowsAtOnce) {
        const int count = static_cast<int>(tiles - tile < kRowsAtOnce ? tiles - tile : kRowsAtOnce);
        const float* rows[kRowsAtOnce];
        float* to[kRowsAtOnce];
        for (int i = 0; i < count; ++i) {
            rows[i] = from + (tile + i) * frame.depth;
            to[i] = sums + (tile + i) * kPart;
        }
        multiply_for<Product>(count, wide)(rows, stretches, panel, to, kBlock, fresh);
    }
}

// Calls run(block, blocks of a panel) for the panels of a part of so many blocks.
template <class Run>
void each_panel(int blocks, Run run) {
    for (int block = 0; block < blocks; block += kPanelBlocks) {
        run(block, blocks - block < kPanelBlocks ? blocks - block : kPanelBlocks);
    }
}

// products[point][tile][column] of one phase and one part of the output channels.
template <class Product>
void multiply_points(const ConvJob& job, const Frame& frame, const Input& input, const Live& live,
                     const float* packed, int blocks, int64_t first, int64_t last, float* products,
                     Ahead& ahead, int64_t steps) {
    const int64_t tiles = (last - first) * frame.tiles_wide;
    const int64_t start = (first - input.first) * frame.tiles_wide;
    const int64_t depth = steps_of(job.args->conv, job.in_channels);
    for (int point = 0; point < frame.points; ++point) {
        ahead.step(steps);
        float* const plane = products + point * frame.product_plane;
        each_panel(blocks, [&](int block, int wide) {
            bool fresh = true;
            winograd::each_slice(winograd::shares(*job.geometry), depth, frame.tile, [&](const Slice& slice) {
                if (!(live.of_share[slice.share] >> point & 1)) return;
                multiply_tiles<Product>(frame, input, point, slice, start, tiles, packed, wide,
                                        plane + block * kBlock, fresh);
                fresh = false;
                packed += slice.steps * wide * kBlock;
            });
        });
    }
}

// One slice's share of them, with the weights that the frame holds: the sums are the same, in the same order.
template <class Product>
void multiply_slice(const ConvJob& job, const Frame& frame, const Input& input, const Live& live,
                    const Slice& slice, int blocks, float* products) {
    const int64_t tiles = (job.last_row - job.first_row) * frame.tiles_wide;
    const float* packed = frame.packed;
    for (int point = 0; point < frame.points; ++point) {
        if (!(live.of_share[slice.share] >> point & 1)) continue;
        const bool fresh = slice.begin == 0 && live.at(point, slice.share) == 0;
        float* const plane = products + point * frame.product_plane;
        each_panel(blocks, [&](int block, int wide) {
            multiply_tiles<Product>(frame, input, point, slice, 0, tiles, packed, wide,
                                    plane + block * kBlock, fresh);
            packed += slice.steps * wide * kBlock;
        });
    }
}

// One tile's pixels, `step` pixels apart along a row.
template <int tile>
void transform_products(const float* products, int64_t plane, uint64_t live, int64_t step, int64_t row_stride,
                        float* to) {
    constexpr int window = window_of(tile);
    for (int part = 0; part < kParts; ++part, products += kLanes<float>, to += kLanes<float>) {
        f32 vertical[tile][window];
#pragma GCC unroll 8
        for (int j = 0; j < window; ++j) {
            f32 column[window], transformed[tile];
#pragma GCC unroll 8
            for (int i = 0; i < window; ++i) {
                const int point = i * window + j;
                column[i] = live >> point & 1 ? load<f32>(products + point * plane) : f32{};
            }
            transform_output(column, transformed);
#pragma GCC unroll 6
            for (int i = 0; i < tile; ++i) vertical[i][j] = transformed[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < tile; ++i) {
            f32 transformed[tile];
            transform_output(vertical[i], transformed);
#pragma GCC unroll 6
            for (int j = 0; j < tile; ++j) store(to + i * row_stride + j * step * kBlock, transformed[j]);
        }
    }
}

float* products_of(const Frame& frame, size_t phase) {
    return frame.products + static_cast<int64_t>(phase) * frame.points * frame.product_plane;
}

template <class Stored>
void finish_part(const ConvJob& job, const Frame& frame, const Pass& pass, int64_t pass_number,
                 const Live* live, int64_t part, int blocks, int64_t first, int64_t last) {
    const Geometry& geometry = *job.geometry;
    const int64_t row_stride = frame.out_columns * kBlock;
    const int64_t pass_rows = geometry.pass_rows(pass), high = frame.tile;
    const auto transform = of_tile(high, transform_products<kSmallTile>, transform_products<kTile>,
                                   transform_products<kLargeTile>);
    each_sample(frame, first, last, [&](int64_t n, int64_t within, int64_t rows, int64_t row) {
        for (int block = 0; block < blocks; ++block) {
            const int64_t k = (part * kPartBlocks + block) * kBlock;
            const int64_t left = job.out_channels - k;
            Finish<Stored> finish(job, n, k, static_cast<int>(left < kBlock ? left : kBlock), frame.residual);
            for (int64_t r = within; r < within + rows; ++r) {
                const int64_t tile = (row - first + r - within) * frame.tiles_wide;
                for (int64_t x = 0; x < frame.tiles_wide; ++x) {
                    for (size_t phase = 0; phase < pass.phases.size(); ++phase) {
                        const float* const products = products_of(frame, phase);
                        const int64_t column = frame.tile * x * frame.phases + pass.phases[phase].column;
                        transform(products + (tile + x) * kPart + block * kBlock, frame.product_plane,
                                  live[phase].any, frame.phases, row_stride, frame.output + column * kBlock);
                    }
                }
                RowMoments moments;
                for (int64_t i = high * r; i < high * (r + 1) && i < pass_rows; ++i) {
                    finish.row(pass.row + i * geometry.out_step[0], geometry.out_width,
                               frame.output + (i - high * r) * row_stride, job.partial ? &moments : nullptr);
                }
                if (!moments.empty()) {
                    finish.keep(moments, r * static_cast<int64_t>(geometry.passes.size()) + pass_number);
                }
            }
        }
    });
}

// What finish_part will read and write.
template <class Stored>
Ahead epilogue_of(const ConvJob& job, const Frame& frame, const Pass& pass, int64_t part, int blocks,
                  int64_t first, int64_t last) {
    const Geometry& geometry = *job.geometry;
    const genfuse_epilogue& epilogue = job.args->epilogue;
    const int64_t c = part * kPart;
    const int64_t channels = job.out_channels - c < blocks * kBlock ? job.out_channels - c : blocks * kBlock;
    Ahead ahead;
    for (int64_t row = first; row < last; ++row) {
        const int64_t n = row / frame.tiles_high, within = row % frame.tiles_high * frame.tile;
        const int64_t left = geometry.pass_rows(pass) - within, rows = left < frame.tile ? left : frame.tile;
        const int64_t y = pass.row + within * geometry.out_step[0];
        ahead.add(lines_of<Stored>(epilogue.residual, n, c, channels, y, geometry.out_step[0], rows,
                                   geometry.out_width));
        if (epilogue.pool[0] * epilogue.pool[1] == 1) {
            ahead.add(lines_of<Stored>(job.args->out, n, c, channels, y, geometry.out_step[0], rows,
                                       geometry.out_width));
        }
    }
    return ahead;
}

// Of rows from `first` on, as many as `rows`.
template <class Product>
Input input_of(const Frame& frame, float* data, int64_t first, int64_t rows) {
    return {
        data, first, frame.input_plane(rows), frame.depth, frame.share_depth, kBlock / Product::kChannels};
}

int blocks_of_part(const ConvJob& job, int64_t part) {
    const int64_t left = blocks_of(job.out_channels) - part * kPartBlocks;
    return static_cast<int>(left < kPartBlocks ? left : kPartBlocks);
}

// All of one part of the output channels, for rows [first, last).
template <class Stored, class Product>
void product_part(const ConvJob& job, const Frame& frame, const Input& input, int64_t part, int64_t first,
                  int64_t last) {
    const Geometry& geometry = *job.geometry;
    const int blocks = blocks_of_part(job, part);
    const int64_t depth = steps_of(job.args->conv, job.in_channels);
    const float* of_phase = job.args->packed;
    for (size_t number = 0; number < geometry.passes.size(); ++number) {
        const Pass& pass = geometry.passes[number];
        Live live[2];
        Ahead ahead = epilogue_of<Stored>(job, frame, pass, part, blocks, first, last);
        const int64_t steps = static_cast<int64_t>(pass.phases.size()) * frame.points;
        for (size_t phase = 0; phase < pass.phases.size(); ++phase) {
            live[phase].find(geometry, pass.phases[phase], frame.tile);
            const int64_t products_deep = live[phase].products() * depth;
            multiply_points<Product>(job, frame, input, live[phase], of_phase + part * products_deep * kPart,
                                     blocks, first, last, products_of(frame, phase), ahead, steps);
            of_phase += products_deep * padded(job.out_channels);
        }
        finish_part<Stored>(job, frame, pass, static_cast<int64_t>(number), live, part, blocks, first, last);
    }
}

struct Range {
    int64_t first, last;
};

Range rows_of_unit(const ConvJob& job, int64_t unit) {
    const int64_t first = job.first_row + unit * job.rows_a_unit, last = first + job.rows_a_unit;
    return {first, last < job.last_row ? last : job.last_row};
}

template <class Stored, class Product>
void whole_unit(const ConvJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Range rows = rows_of_unit(job, unit);
    const Input input = input_of<Product>(frame, frame.own_input, rows.first, job.rows_a_unit);
    for (int64_t block = 0; block < blocks_of(job.in_channels); ++block) {
        fill_input<Stored, Product>(job, frame, input, block, rows.first, rows.last);
    }
    const int64_t parts = (blocks_of(job.out_channels) + kPartBlocks - 1) / kPartBlocks;
    for (int64_t part = 0; part < parts; ++part) {
        product_part<Stored, Product>(job, frame, input, part, rows.first, rows.last);
    }
}

template <class Product>
Input shared_input(const ConvJob& job, const Frame& frame) {
    return input_of<Product>(frame, job.shared, job.first_row, job.last_row - job.first_row);
}

template <class Stored, class Product>
void input_unit(const ConvJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t blocks = blocks_of(job.in_channels), parts = winograd::input_parts(blocks);
    const Range rows = rows_of_unit(job, unit / parts);
    const int64_t first = unit % parts * winograd::kInputBlocks;
    for (int64_t block = first; block < first + winograd::kInputBlocks && block < blocks; ++block) {
        fill_input<Stored, Product>(job, frame, shared_input<Product>(job, frame), block, rows.first,
                                    rows.last);
    }
}

template <class Stored, class Product>
void product_unit(const ConvJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    // Neighbouring units read the same weights, which are then in the shared cache.
    const int64_t stretches = (job.last_row - job.first_row + job.rows_a_unit - 1) / job.rows_a_unit;
    const Range rows = rows_of_unit(job, unit % stretches);
    product_part<Stored, Product>(job, frame, shared_input<Product>(job, frame), unit / stretches, rows.first,
                                  rows.last);
}

// A slice of the weights of one phase is transformed and multiplied before the next one: all of a part's
// would leave the caches (13 MB of a 4x4 kernel's from 512 channels) and come back.
template <class Stored, class Product>
void part_unit(const ConvJob& job, int64_t part, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Geometry& geometry = *job.geometry;
    const Input input = shared_input<Product>(job, frame);
    const int blocks = blocks_of_part(job, part);
    const int64_t depth = steps_of(job.args->conv, job.in_channels);
    load_winograd_part(*job.pack, part, frame.kernels);
    for (size_t number = 0; number < geometry.passes.size(); ++number) {
        const Pass& pass = geometry.passes[number];
        Live live[2];
        for (size_t phase = 0; phase < pass.phases.size(); ++phase) {
            live[phase].find(geometry, pass.phases[phase], frame.tile);
            winograd::each_slice(winograd::shares(geometry), depth, frame.tile, [&](const Slice& slice) {
                pack_winograd_slice(*job.pack, part, pass.phases[phase], live[phase], slice, frame.kernels,
                                    frame.packed);
                multiply_slice<Product>(job, frame, input, live[phase], slice, blocks,
                                        products_of(frame, phase));
            });
        }
        finish_part<Stored>(job, frame, pass, static_cast<int64_t>(number), live, part, blocks, job.first_row,
                            job.last_row);
    }
}

}  // namespace

// Rows [unit·rows_a_unit, ...) from input to output.
void winograd_unit(const ConvJob& job, int64_t unit, int slot) {
    with_factors(job.args->dtype, job.args->conv.product, [&](auto stored, auto factors) {
        whole_unit<decltype(stored), decltype(factors)>(job, unit, slot);
    });
}

// Some blocks of input channels of some rows, into the shared memory.
void winograd_input_unit(const ConvJob& job, int64_t unit, int slot) {
    with_factors(job.args->dtype, job.args->conv.product, [&](auto stored, auto factors) {
        input_unit<decltype(stored), decltype(factors)>(job, unit, slot);
    });
}

// One part of the output channels of some rows, from the shared memory.
void winograd_product_unit(const ConvJob& job, int64_t unit, int slot) {
    with_factors(job.args->dtype, job.args->conv.product, [&](auto stored, auto factors) {
        product_unit<decltype(stored), decltype(factors)>(job, unit, slot);
    });
}

// One part of the output channels of all rows, from the shared memory, with weights that are packed here.
void winograd_part_unit(const ConvJob& job, int64_t unit, int slot) {
    with_factors(job.args->dtype, job.args->conv.product, [&](auto stored, auto factors) {
        part_unit<decltype(stored), decltype(factors)>(job, unit, slot);
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
