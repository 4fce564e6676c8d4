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

// Which places of the window have taps along an axis: all three, or the two that a kernel of 4 has in a share
// or phase.
enum class Taps { all, first, last };

constexpr int first_of(Taps taps) {
    return taps == Taps::last;
}

constexpr int last_of(Taps taps) {
    return taps == Taps::first ? 1 : 2;
}

// G without its divisors: the kernel g[first_of] ... g[last_of] as a polynomial at the points, of those that
// are not zero.
template <Taps taps>
GENFUSE_INLINE void transform_kernel(const f32 (&g)[3],
                                     f32 (&to)[winograd::window_of(winograd::kSmallTile)]) {
    const f32 even = taps == Taps::all ? g[0] + g[2] : taps == Taps::first ? g[0] : g[2];
    if (taps != Taps::last) to[0] = g[0];
    to[1] = even + g[1];
    to[2] = even - g[1];
    if (taps != Taps::first) to[3] = g[2];
}

template <Taps taps>
GENFUSE_INLINE void transform_kernel(const f32 (&g)[3], f32 (&to)[winograd::window_of(winograd::kTile)]) {
    const bool all = taps == Taps::all;
    const f32 even_a = all ? plus_times(g[0], 0.5f, g[2]) : taps == Taps::first ? g[0] : times(0.5f, g[2]);
    const f32 even_b = all ? plus_times(g[0], 2.0f, g[2]) : taps == Taps::first ? g[0] : times(2.0f, g[2]);
    if (taps != Taps::last) to[0] = g[0];
    to[1] = plus_times(even_a, kA, g[1]);
    to[2] = plus_times(even_a, -kA, g[1]);
    to[3] = plus_times(even_b, kB, g[1]);
    to[4] = plus_times(even_b, -kB, g[1]);
    if (taps != Taps::first) to[5] = g[2];
}

template <Taps>
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

// Where a tap of each place lies in a block, of shares that have one at each of some rows' and columns'
// places.
struct Grid {
    explicit Grid(const WindowTaps& taps) {
        for (int i = 0; i < taps.count; ++i) {
            const WindowTaps::Place& place = taps.list[i];
            tap[place.y][place.x] = place.tap;
            ++times[place.y][place.x];
        }
    }

    bool has(Taps down, Taps right) const {
        for (int y = 0; y < 3; ++y) {
            for (int x = 0; x < 3; ++x) {
                const bool inside =
                    y >= first_of(down) && y <= last_of(down) && x >= first_of(right) && x <= last_of(right);
                if (times[y][x] != inside) return false;
            }
        }
        return true;
    }

    int tap[3][3] = {}, times[3][3] = {};
};

// All points of a step of the sum (one input channel, or two) and a vector of output channels.
template <int tile, Taps down, Taps right, class Product>
GENFUSE_INLINE void transform_step(const f32 (&kernel)[Product::kChannels][3][3], uint64_t live,
                                   float* const* to, int64_t offset) {
    constexpr int window = winograd::window_of(tile), together = Product::kChannels;
    constexpr int top = first_of(down), bottom = window - (down == Taps::first);
    constexpr int left = first_of(right), end = window - (right == Taps::first);
    f32 rows[together][3][window];
    for (int j = 0; j < together; ++j) {
#pragma GCC unroll 3
        for (int i = first_of(down); i <= last_of(down); ++i) {
            transform_kernel<right>(kernel[j][i], rows[j][i]);
        }
    }
#pragma GCC unroll 8
    for (int x = left; x < end; ++x) {
        f32 transformed[together][window];
        for (int j = 0; j < together; ++j) {
            f32 column[3] = {};
#pragma GCC unroll 3
            for (int i = first_of(down); i <= last_of(down); ++i) column[i] = rows[j][i][x];
            transform_kernel<down>(column, transformed[j]);
        }
#pragma GCC unroll 8
        for (int y = top; y < bottom; ++y) {
            const int point = y * window + x;
            if (!(live >> point & 1)) continue;
            f32 of_step[together];
            for (int j = 0; j < together; ++j) {
                of_step[j] = times(factor_of<tile>(point), transformed[j][y]);
            }
            store(to[point] + offset, step_of(Product(), of_step));
        }
    }
}

constexpr uint64_t kAllPoints = ~uint64_t{0};

// Channels [0, channels) of `block` and `columns` output channels, where the share has one tap at each of
// these places.
template <int tile, Taps down, Taps right, class Product>
void transform_grid(const PackJob& job, const Grid& grid, const float* block, int64_t channels,
                    int64_t columns, float* const* to) {
    constexpr int together = Product::kChannels;
    for (int64_t i = 0; i < channels; i += together) {
        for (int64_t column = 0; column < columns; column += kLanes<float>) {
            const float* const from = block + column / kBlock * job.block_floats() + column % kBlock;
            f32 kernel[together][3][3];
            for (int j = 0; j < together; ++j) {
                const float* const channel = from + (i + j) * job.taps() * kBlock;
                const bool is_there = i + j < channels;  // of an odd number the last one's partner is zero
#pragma GCC unroll 3
                for (int y = first_of(down); y <= last_of(down); ++y) {
#pragma GCC unroll 3
                    for (int x = first_of(right); x <= last_of(right); ++x) {
                        kernel[j][y][x] = is_there ? load<f32>(channel + grid.tap[y][x] * kBlock) : f32{};
                    }
                }
            }
            transform_step<tile, down, right, Product>(kernel, kAllPoints, to,
                                                       i / together * columns + column);
        }
    }
}

// Of any taps, several at one place too.
template <int tile, class Product>
void transform_any(const PackJob& job, const WindowTaps& taps, uint64_t live, const float* block,
                   int64_t channels, int64_t columns, float* const* to) {
    constexpr int together = Product::kChannels;
    for (int64_t i = 0; i < channels; i += together) {
        for (int64_t column = 0; column < columns; column += kLanes<float>) {
            const float* const from = block + column / kBlock * job.block_floats() + column % kBlock;
            f32 kernel[together][3][3] = {};
            for (int j = 0; j < together && i + j < channels; ++j) {
                for (int n = 0; n < taps.count; ++n) {
                    const WindowTaps::Place& place = taps.list[n];
                    kernel[j][place.y][place.x] +=
                        load<f32>(from + ((i + j) * job.taps() + place.tap) * kBlock);
                }
            }
            transform_step<tile, Taps::all, Taps::all, Product>(kernel, live, to,
                                                                i / together * columns + column);
        }
    }
}

template <int tile, class Product>
void transform_share(const PackJob& job, const WindowTaps& taps, uint64_t live, const float* block,
                     int64_t channels, int64_t columns, float* const* to) {
    const Grid grid(taps);
    const auto run = [&](auto transform) { transform(job, grid, block, channels, columns, to); };
    if (grid.has(Taps::all, Taps::all)) return run(transform_grid<tile, Taps::all, Taps::all, Product>);
    if constexpr (tile != winograd::kLargeTile) {  // which strided and transposed ones do not have
        if (grid.has(Taps::first, Taps::first)) {
            return run(transform_grid<tile, Taps::first, Taps::first, Product>);
        }
        if (grid.has(Taps::first, Taps::last)) {
            return run(transform_grid<tile, Taps::first, Taps::last, Product>);
        }
        if (grid.has(Taps::last, Taps::first)) {
            return run(transform_grid<tile, Taps::last, Taps::first, Product>);
        }
        if (grid.has(Taps::last, Taps::last)) {
            return run(transform_grid<tile, Taps::last, Taps::last, Product>);
        }
    }
    transform_any<tile, Product>(job, taps, live, block, channels, columns, to);
}

int64_t part_columns(const PackJob& job, int64_t part) {
    const int64_t left = padded(job.geometry->group_out) - part * winograd::kPart;
    return left < winograd::kPart ? left : winograd::kPart;
}

// Where a phase's weights lie: [part][point][panel][share][step of the sum over input channels][column], of
// the products that it needs. All columns of a channel follow each other: so what is written of a point goes
// on where it ended, and no line comes back to the cache that was half written.
template <int tile, class Product>
void pack_phase(const PackJob& job, const Phase& phase, const winograd::Live& live, int64_t first,
                int64_t columns, int64_t c, int64_t channels, const float* block, float* packed) {
    constexpr int points = winograd::points_of(tile);
    const Geometry& geometry = *job.geometry;
    const int64_t depth = steps_of(*job.conv, geometry.group_in), number = first / winograd::kPart;
    const int64_t part = number * winograd::kPart, width = part_columns(job, number);
    packed += live.products() * depth * part;
    for (int share = 0; share < winograd::shares(geometry); ++share) {
        float* to[points];
        int64_t before = 0;  // products in front of the point's
        for (int point = 0; point < points; ++point) {
            const int64_t at_point = live.at(point);
            const int64_t row = before * width + (first - part) * at_point + live.at(point, share) * columns;
            to[point] = packed + row * depth + steps_of(*job.conv, c) * columns;
            before += at_point;
        }
        const WindowTaps taps(geometry, phase, share, job.conv->kernel[1]);
        transform_share<tile, Product>(job, taps, live.of_share[share], block, channels, columns, to);
    }
}

template <int tile, class Product>
void pack_slice(const PackJob& job, int64_t part, const Phase& phase, const winograd::Live& live,
                const winograd::Slice& slice, const float* kernels, float* packed) {
    constexpr int points = winograd::points_of(tile);
    const WindowTaps taps(*job.geometry, phase, slice.share, job.conv->kernel[1]);
    const uint64_t alive = live.of_share[slice.share];
    const int64_t width = part_columns(job, part), blocks = width / kBlock;
    const int64_t begin = slice.begin * Product::kChannels, most = begin + slice.steps * Product::kChannels;
    const int64_t end = most < job.geometry->group_in ? most : job.geometry->group_in;
    for (int64_t first = 0; first < width; first += job.panel()) {
        const int64_t columns = width - first < job.panel() ? width - first : job.panel();
        for (int64_t c = begin; c < end; c += kBlock) {
            float* to[points];
            float* at = packed + first * slice.steps + steps_of(*job.conv, c - begin) * columns;
            for (int point = 0; point < points; ++point) {
                to[point] = at;
                at += (alive >> point & 1) * width * slice.steps;
            }
            const float* const block = kernels + (c / kBlock * blocks + first / kBlock) * job.block_floats();
            transform_share<tile, Product>(job, taps, alive, block, end - c < kBlock ? end - c : kBlock,
                                           columns, to);
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
