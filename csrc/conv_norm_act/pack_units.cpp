// Weights in the order that direct and Winograd's kernels read them: in training they change with every step,
// and a scalar loop would take longer than the convolution. 16 input channels times 16 output channels go
// through a buffer in which the output channels are lanes.
#include "common/pack.h"
#include "conv_norm_act/direct.h"
#include "conv_norm_act/pack_job.h"
#include "conv_norm_act/winograd_input.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Input channels [c, c + channels) and output channels [k, k + 16) of a group, to to[(channel·taps + tap)·16
// + output channel]; zero beyond the group.
template <class Stored>
void load_block_of(const PackJob& job, int64_t group, int64_t c, int64_t channels, int64_t k, float* to) {
    const Geometry& geometry = *job.geometry;
    const int64_t taps = job.taps(), outputs = geometry.group_out - k;
    const Stored* const weight = static_cast<const Stored*>(job.weight.data);
    const auto load_lanes = [&](const Stored* from, int64_t rows, int64_t stride, float* rows_to) {
        const Matrix<Stored> matrix{from, 1, stride, rows, outputs < kBlock ? outputs : kBlock};
        for (int lane = 0; lane < kBlock; lane += kLanes<float>) {
            if (lane < matrix.columns) {
                pack_lanes(matrix, lane, kBlock, rows_to + lane);
            } else {
                for (int64_t row = 0; row < rows; ++row) store(rows_to + row * kBlock + lane, f32{});
            }
        }
    };
    if (job.conv->transposed) {
        for (int64_t i = 0; i < channels; ++i) {
            const int64_t row = group * geometry.group_in + c + i;
            load_lanes(weight + (row * geometry.group_out + k) * taps, taps, taps, to + i * taps * kBlock);
        }
        return;
    }
    const int64_t row = group * geometry.group_out + k;
    load_lanes(weight + (row * geometry.group_in + c) * taps, channels * taps, geometry.group_in * taps, to);
}

void load_block(const PackJob& job, int64_t group, int64_t c, int64_t channels, int64_t k, float* to) {
    const bool half = job.weight.dtype == GENFUSE_BFLOAT16;
    (half ? load_block_of<bfloat16> : load_block_of<float>)(job, group, c, channels, k, to);
}

// A step of the sum over channels, of as many channels as it has: one, or two in bfloat16.
GENFUSE_INLINE f32 step_of(Singles, const f32 (&channels)[1]) {
    return channels[0];
}

GENFUSE_INLINE f32 step_of(Pairs, const f32 (&channels)[2]) {
    return paired(channels[0], channels[1]);
}

// G without its divisors: the kernel as a polynomial at the points.
GENFUSE_INLINE void transform_kernel(const f32 (&g)[3],
                                     f32 (&to)[winograd::window_of(winograd::kSmallTile)]) {
    const f32 even = g[0] + g[2];
    to[0] = g[0];
    to[1] = even + g[1];
    to[2] = even - g[1];
    to[3] = g[2];
}

GENFUSE_INLINE void transform_kernel(const f32 (&g)[3], f32 (&to)[winograd::window_of(winograd::kTile)]) {
    const f32 even_a = plus_times(g[0], 0.5f, g[2]), even_b = plus_times(g[0], 2.0f, g[2]);
    to[0] = g[0];
    to[1] = plus_times(even_a, kA, g[1]);
    to[2] = plus_times(even_a, -kA, g[1]);
    to[3] = plus_times(even_b, kB, g[1]);
    to[4] = plus_times(even_b, -kB, g[1]);
    to[5] = g[2];
}

GENFUSE_INLINE void transform_kernel(const f32 (&g)[3],
                                     f32 (&to)[winograd::window_of(winograd::kLargeTile)]) {
    const f32 even_1 = g[0] + g[2], even_h = plus_times(g[0], 0.25f, g[2]),
              even_2 = plus_times(g[0], 4.0f, g[2]);
    to[0] = g[0];
    to[1] = even_1 + g[1];
    to[2] = even_1 - g[1];
    to[3] = plus_times(even_h, 0.5f, g[1]);
    to[4] = plus_times(even_h, -0.5f, g[1]);
    to[5] = plus_times(even_2, 2.0f, g[1]);
    to[6] = plus_times(even_2, -2.0f, g[1]);
    to[7] = g[2];
}

// What Bᵀ leaves out of a point, which G is divided by.
constexpr double kSmallDivisors[] = {1, 2, 2, 1}, kDivisors[] = {1, -1.5, -1.5, 6, 6, 1};
constexpr double kLargeDivisors[] = {1, -4.5, -4.5, 45.0 / 32, 45.0 / 32, 90, 90, 1};

template <int tile>
constexpr float factor_of(int point) {
    constexpr int window = winograd::window_of(tile);
    const double* const divisors = of_tile(tile, kSmallDivisors + 0, kDivisors + 0, kLargeDivisors + 0);
    return static_cast<float>(1 / (divisors[point / window] * divisors[point % window]));
}

// All points of one input channel and a vector of output channels, `lane` of 16.
template <int tile>
GENFUSE_INLINE void transform_channel(const WindowTaps& taps, const float* block,
                                      f32 (&to)[winograd::points_of(tile)]) {
    constexpr int window = winograd::window_of(tile);
    f32 kernel[3][3] = {};
    for (int i = 0; i < taps.count; ++i) {
        const WindowTaps::Place& place = taps.list[i];
        kernel[place.y][place.x] += load<f32>(block + place.tap * kBlock);
    }
    f32 rows[3][window];
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) transform_kernel(kernel[i], rows[i]);
#pragma GCC unroll 8
    for (int j = 0; j < window; ++j) {
        const f32 column[3] = {rows[0][j], rows[1][j], rows[2][j]};
        f32 transformed[window];
        transform_kernel(column, transformed);
#pragma GCC unroll 8
        for (int i = 0; i < window; ++i) {
            const int point = i * window + j;
            to[point] = times(factor_of<tile>(point), transformed[i]);
        }
    }
}

// The points of one share that a phase needs, for so many channels and columns, each to its own place and on
// from there. All columns of a channel follow each other: so what is written of a point goes on where it
// ended, and no line comes back to the cache that was half written.
template <int tile, class Product>
void pack_share(const PackJob& job, const WindowTaps& taps, const int* alive, int count, int64_t columns,
                int64_t channels, const float* block, float* const* to) {
    constexpr int together = Product::kChannels;
    for (int64_t i = 0; i < channels; i += together) {
        const int64_t step = i / together * columns;
        for (int64_t column = 0; column < columns; column += kLanes<float>) {
            const float* const from = block + column / kBlock * job.block_floats() + column % kBlock;
            f32 transformed[together][winograd::points_of(tile)] = {};  // an odd last one's partner is zero
            for (int j = 0; j < together && i + j < channels; ++j) {
                transform_channel<tile>(taps, from + (i + j) * job.taps() * kBlock, transformed[j]);
            }
            for (int n = 0; n < count; ++n) {
                f32 of_step[together];
                for (int j = 0; j < together; ++j) of_step[j] = transformed[j][alive[n]];
                store(to[n] + step + column, step_of(Product(), of_step));
            }
        }
    }
}

// Where a phase's weights lie: [part][point][panel][share][step of the sum over input channels][column], of
// the products that it needs.
template <int tile, class Product>
void pack_phase(const PackJob& job, const Phase& phase, const winograd::Live& live, int64_t first,
                int64_t columns, int64_t c, int64_t channels, const float* block, float* packed) {
    constexpr int points = winograd::points_of(tile);
    const Geometry& geometry = *job.geometry;
    const int64_t depth = steps_of(*job.conv, geometry.group_in), outputs = padded(geometry.group_out);
    const int64_t part = first / winograd::kPart * winograd::kPart;
    const int64_t width = outputs - part < winograd::kPart ? outputs - part : winograd::kPart;
    packed += live.products() * depth * part;
    for (int share = 0; share < winograd::shares(geometry); ++share) {
        const WindowTaps taps(geometry, phase, share, job.conv->kernel[1]);
        float* to[points];
        int alive[points], count = 0;
        int64_t before = 0;  // products in front of the point's
        for (int point = 0; point < points; ++point) {
            const int64_t at_point = live.at(point);
            if (live.of_share[share] >> point & 1) {
                const int64_t row =
                    before * width + (first - part) * at_point + live.at(point, share) * columns;
                to[count] = packed + row * depth + steps_of(*job.conv, c) * columns;
                alive[count++] = point;
            }
            before += at_point;
        }
        pack_share<tile, Product>(job, taps, alive, count, columns, channels, block, to);
    }
}

int64_t part_columns(const PackJob& job, int64_t part) {
    const int64_t left = padded(job.geometry->group_out) - part * winograd::kPart;
    return left < winograd::kPart ? left : winograd::kPart;
}

template <int tile, class Product>
void pack_slice(const PackJob& job, int64_t part, const Phase& phase, const winograd::Live& live,
                const winograd::Slice& slice, const float* kernels, float* packed) {
    const WindowTaps taps(*job.geometry, phase, slice.share, job.conv->kernel[1]);
    const int64_t width = part_columns(job, part), blocks = width / kBlock;
    const int64_t begin = slice.begin * Product::kChannels, most = begin + slice.steps * Product::kChannels;
    const int64_t end = most < job.geometry->group_in ? most : job.geometry->group_in;
    int alive[winograd::points_of(tile)], count = 0;
    for (int point = 0; point < winograd::points_of(tile); ++point) {
        if (live.of_share[slice.share] >> point & 1) alive[count++] = point;
    }
    for (int64_t first = 0; first < width; first += job.panel()) {
        const int64_t columns = width - first < job.panel() ? width - first : job.panel();
        for (int64_t c = begin; c < end; c += kBlock) {
            float* to[winograd::points_of(tile)];
            for (int n = 0; n < count; ++n) {
                to[n] = packed + (n * width + first) * slice.steps + steps_of(*job.conv, c - begin) * columns;
            }
            const float* const block = kernels + (c / kBlock * blocks + first / kBlock) * job.block_floats();
            pack_share<tile, Product>(job, taps, alive, count, columns, end - c < kBlock ? end - c : kBlock,
                                      block, to);
        }
    }
}

template <int tile, class Product>
void pack_phases(const PackJob& job, int64_t unit, float* memory) {
    const Geometry& geometry = *job.geometry;
    const int64_t first = unit / job.in_blocks() * job.panel(), c = unit % job.in_blocks() * kBlock;
    const int64_t left = geometry.group_in - c, channels = left < kBlock ? left : kBlock;
    const int64_t outputs = padded(geometry.group_out) - first;
    const int64_t columns = outputs < job.panel() ? outputs : job.panel();
    float *const block = memory, *packed = job.packed;
    for (int64_t column = 0; column < columns; column += kBlock) {
        load_block(job, 0, c, channels, first + column, block + column / kBlock * job.block_floats());
    }
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            winograd::Live live;
            live.find(geometry, phase, tile);
            pack_phase<tile, Product>(job, phase, live, first, columns, c, channels, block, packed);
            packed += live.products() * steps_of(*job.conv, geometry.group_in) * padded(geometry.group_out);
        }
    }
}

// [phase][group][panel][input block][tap][step of the block][column]
template <class Product>
void pack_direct(const PackJob& job, int64_t unit, float* block) {
    constexpr int together = Product::kChannels;
    const Geometry& geometry = *job.geometry;
    const int64_t c = unit % job.in_blocks() * kBlock,
                  first = unit / job.in_blocks() % job.panels() * job.panel();
    const int64_t group = unit / job.in_blocks() / job.panels();
    const int64_t outputs = padded(geometry.group_out), left = geometry.group_in - c;
    const int64_t channels = left < kBlock ? left : kBlock;
    const int64_t columns = outputs - first < job.panel() ? outputs - first : job.panel();
    for (int64_t column = 0; column < columns; column += kBlock) {
        load_block(job, group, c, channels, first + column, block);
        for (const Pass& pass : geometry.passes) {
            for (const Phase& phase : pass.phases) {
                const int64_t taps = static_cast<int64_t>(phase.taps.size());
                float* to = job.packed + phase.packed +
                            group * direct::packed_group(*job.conv, geometry, phase) +
                            first * taps * steps_of(*job.conv, geometry.group_in) +
                            columns * taps * steps_of(*job.conv, c);
                for (const Tap& tap : phase.taps) {
                    const int64_t place = tap.kernel_y * job.conv->kernel[1] + tap.kernel_x;
                    for (int64_t i = 0; i < channels; i += together) {
                        for (int lane = 0; lane < kBlock; lane += kLanes<float>) {
                            f32 of_step[together] = {};
                            for (int j = 0; j < together && i + j < channels; ++j) {
                                of_step[j] =
                                    load<f32>(block + ((i + j) * job.taps() + place) * kBlock + lane);
                            }
                            store(to + i / together * columns + column + lane, step_of(Product(), of_step));
                        }
                    }
                    to += steps_of(*job.conv, channels) * columns;
                }
            }
        }
    }
}

// [phase][group][panel][32 input channels][tap][16 columns][pair of input channels][column]: what the matrix
// unit reads at once lies together, and zeros stand where channels end.
void pack_matrix(const PackJob& job, int64_t unit, float* block) {
    const Geometry& geometry = *job.geometry;
    const int64_t c = unit % job.in_blocks() * kBlock,
                  first = unit / job.in_blocks() % job.panels() * job.panel();
    const int64_t group = unit / job.in_blocks() / job.panels();
    const int64_t outputs = padded(geometry.group_out), left = geometry.group_in - c;
    const int64_t channels = left < kBlock ? left : kBlock;
    const int64_t columns = outputs - first < job.panel() ? outputs - first : job.panel();
    const int64_t depth = steps_of(*job.conv, geometry.group_in);
    const int64_t pairs = left <= kBlock && c % matrix::kDepth == 0 ? matrix::kPairs : kBlock / 2;
    for (int64_t column = 0; column < columns; column += kBlock) {
        load_block(job, group, c, channels, first + column, block);
        for (const Pass& pass : geometry.passes) {
            for (const Phase& phase : pass.phases) {
                const int64_t taps = static_cast<int64_t>(phase.taps.size());
                float* to = job.packed + phase.packed + group * taps * depth * outputs +
                            first * taps * depth + c / matrix::kDepth * matrix::kPairs * taps * columns +
                            column * matrix::kPairs + c % matrix::kDepth / 2 * kBlock;
                for (const Tap& tap : phase.taps) {
                    const int64_t place = tap.kernel_y * job.conv->kernel[1] + tap.kernel_x;
                    const auto channel = [&](int64_t i, int lane) {
                        return i < channels ? load<f32>(block + (i * job.taps() + place) * kBlock + lane)
                                            : f32{};
                    };
                    for (int64_t pair = 0; pair < pairs; ++pair) {
                        for (int lane = 0; lane < kBlock; lane += kLanes<float>) {
                            store(to + pair * kBlock + lane,
                                  paired(channel(2 * pair, lane), channel(2 * pair + 1, lane)));
                        }
                    }
                    to += columns * matrix::kPairs;
                }
            }
        }
    }
}

template <class Run>
void with_product(const PackJob& job, Run run) {
    if (job.conv->product == GENFUSE_BFLOAT16) return run(Pairs());
    run(Singles());
}

}  // namespace

void pack_direct_unit(const PackJob& job, int64_t unit, int slot) {
    float* const block = job.memory + slot * job.memory_a_slot;
    with_product(job, [&](auto product) { pack_direct<decltype(product)>(job, unit, block); });
}

void pack_matrix_unit(const PackJob& job, int64_t unit, int slot) {
    pack_matrix(job, unit, job.memory + slot * job.memory_a_slot);
}

void pack_winograd_unit(const PackJob& job, int64_t unit, int slot) {
    float* const block = job.memory + slot * job.memory_a_slot;
    with_product(job, [&](auto product) {
        using Product = decltype(product);
        of_tile(job.conv->tile, pack_phases<winograd::kSmallTile, Product>,
                pack_phases<winograd::kTile, Product>,
                pack_phases<winograd::kLargeTile, Singles>)(job, unit, block);
    });
}

void load_winograd_part(const PackJob& job, int64_t part, float* kernels) {
    const int64_t width = part_columns(job, part), inputs = job.geometry->group_in;
    for (int64_t c = 0; c < inputs; c += kBlock) {
        const int64_t channels = inputs - c < kBlock ? inputs - c : kBlock;
        for (int64_t column = 0; column < width; column += kBlock, kernels += job.block_floats()) {
            load_block(job, 0, c, channels, part * winograd::kPart + column, kernels);
        }
    }
}

void pack_winograd_slice(const PackJob& job, int64_t part, const Phase& phase, const winograd::Live& live,
                         const winograd::Slice& slice, const float* kernels, float* packed) {
    with_product(job, [&](auto product) {
        using Product = decltype(product);
        of_tile(job.conv->tile, pack_slice<winograd::kSmallTile, Product>,
                pack_slice<winograd::kTile, Product>,
                pack_slice<winograd::kLargeTile, Singles>)(job, part, phase, live, slice, kernels, packed);
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
