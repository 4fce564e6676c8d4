// Weights in the order that direct and Winograd's kernels read them: in training they change with every step,
// and a scalar loop would take longer than the convolution. 16 input channels times 16 output channels go
// through a buffer in which the output channels are lanes.
#include "common/gemm.h"
#include "common/pack.h"
#include "conv_norm_act/direct.h"
#include "conv_norm_act/pack_job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// 16 output channels: more than a vector of some instruction sets, which the compiler makes several of.
typedef float Singles16 __attribute__((vector_size(64)));
typedef double Doubles16 __attribute__((vector_size(128)));

// Input channels [c, c + channels) and output channels [k, k + 16) of a group, to to[(channel·taps + tap)·16
// + output channel]; zero beyond the group.
void load_block(const PackJob& job, int64_t group, int64_t c, int64_t channels, int64_t k, float* to) {
    const Geometry& geometry = *job.geometry;
    const int64_t taps = job.taps(), outputs = geometry.group_out - k;
    const auto load_lanes = [&](const float* from, int64_t rows, int64_t stride, float* rows_to) {
        const Matrix<float> matrix{from, 1, stride, rows, outputs < kBlock ? outputs : kBlock};
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
            load_lanes(job.weight + (row * geometry.group_out + k) * taps, taps, taps,
                       to + i * taps * kBlock);
        }
        return;
    }
    const int64_t row = group * geometry.group_out + k;
    load_lanes(job.weight + (row * geometry.group_in + c) * taps, channels * taps, geometry.group_in * taps,
               to);
}

// Steps of the sum over channels, a row of `columns` values each: 16 columns of a channel from `column` on.
void put(Singles, float* to, int64_t columns, int64_t channel, int64_t column, Singles16 values) {
    __builtin_memcpy(to + channel * columns + column, &values, sizeof values);
}

// Two channels a step; of an odd number the last one's partner is zero.
void put(Pairs, float* to, int64_t columns, int64_t channel, int64_t column, Singles16 values) {
    bfloat16 halves[kBlock];
    float lanes[kBlock];
    __builtin_memcpy(lanes, &values, sizeof lanes);
    for (int lane = 0; lane < kBlock; lane += kLanes<float>) narrow(halves + lane, load<f32>(lanes + lane));
    float* const pairs = to + channel / 2 * columns + column;
    for (int lane = 0; lane < kBlock; ++lane) {
        uint32_t pair;
        __builtin_memcpy(&pair, pairs + lane, sizeof pair);
        uint16_t half;
        __builtin_memcpy(&half, halves + lane, sizeof half);
        pair = channel % 2 ? (pair & 0xFFFFu) | uint32_t{half} << 16 : half;
        __builtin_memcpy(pairs + lane, &pair, sizeof pair);
    }
}

Singles16 load_lanes(const float* from) {
    Singles16 values;
    __builtin_memcpy(&values, from, sizeof values);
    return values;
}

// G: the kernel as a polynomial at the points, divided by what Bᵀ leaves out.
template <int tile>
void transform_kernel(const Doubles16 (&g)[3], Doubles16 (&to)[winograd::window_of(tile)]) {
    if constexpr (tile == winograd::kSmallTile) {
        to[0] = g[0];
        to[1] = (g[0] + g[1] + g[2]) * 0.5;
        to[2] = (g[0] - g[1] + g[2]) * 0.5;
        to[3] = g[2];
    } else {
        constexpr double a = 0.70710678118654752440, b = 1.41421356237309504880;
        const Doubles16 even_a = g[0] + 0.5 * g[2], odd_a = a * g[1];
        const Doubles16 even_b = g[0] + 2.0 * g[2], odd_b = b * g[1];
        to[0] = g[0];
        to[1] = (even_a + odd_a) * (-2.0 / 3);
        to[2] = (even_a - odd_a) * (-2.0 / 3);
        to[3] = (even_b + odd_b) * (1.0 / 6);
        to[4] = (even_b - odd_b) * (1.0 / 6);
        to[5] = g[2];
    }
}

// The taps of a phase that a share has, by their place in its 3x3 window.
struct WindowTaps {
    WindowTaps(const Geometry& geometry, const Phase& phase, int share, int32_t kernel_width) {
        const int32_t* const step = geometry.in_step;
        const winograd::Share down = winograd::share_of(geometry, 0, share / step[1]);
        const winograd::Share right = winograd::share_of(geometry, 1, share % step[1]);
        for (const Tap& tap : phase.taps) {
            const int y = tap.y - geometry.first_tap[0], x = tap.x - geometry.first_tap[1];
            if (y % step[0] != down.remainder || x % step[1] != right.remainder) continue;
            list[count++] = {y / step[0] + down.place, x / step[1] + right.place,
                             tap.kernel_y * kernel_width + tap.kernel_x};
        }
    }

    struct Place {
        int y, x, tap;
    };
    Place list[36];  // a folded kernel has several of a place
    int count = 0;
};

// All points of one channel: to[point][16 columns].
template <int tile>
void transform_channel(const WindowTaps& taps, const float* block,
                       Singles16 (&to)[winograd::points_of(tile)]) {
    constexpr int window = winograd::window_of(tile);
    Doubles16 kernel[3][3] = {};
    for (int i = 0; i < taps.count; ++i) {
        const WindowTaps::Place& place = taps.list[i];
        kernel[place.y][place.x] +=
            __builtin_convertvector(load_lanes(block + place.tap * kBlock), Doubles16);
    }
    Doubles16 rows[3][window];
    for (int i = 0; i < 3; ++i) transform_kernel<tile>(kernel[i], rows[i]);
    for (int j = 0; j < window; ++j) {
        const Doubles16 column[3] = {rows[0][j], rows[1][j], rows[2][j]};
        Doubles16 transformed[window];
        transform_kernel<tile>(column, transformed);
        for (int i = 0; i < window; ++i) {
            to[i * window + j] = __builtin_convertvector(transformed[i], Singles16);
        }
    }
}

// Where a phase's weights lie: [part][point][panel][share][step of the sum over input channels][column], of
// the products that it needs.
template <int tile, class Product>
void pack_phase(const PackJob& job, const Phase& phase, int64_t first, int64_t c, int64_t channels,
                float* block, float* packed) {
    constexpr int points = winograd::points_of(tile);
    const Geometry& geometry = *job.geometry;
    const int64_t depth = steps_of(*job.conv, geometry.group_in), outputs = padded(geometry.group_out);
    const int64_t part = first / winograd::kPart * winograd::kPart, panel = job.panel();
    const int64_t width = outputs - part < winograd::kPart ? outputs - part : winograd::kPart;
    const int64_t columns = part + width - first < panel ? part + width - first : panel;
    winograd::Live live;
    live.find(geometry, phase, tile);
    packed += live.products() * depth * part;
    for (int64_t column = 0; column < columns; column += kBlock) {
        load_block(job, 0, c, channels, first + column, block);
        for (int share = 0; share < winograd::shares(geometry); ++share) {
            const WindowTaps taps(geometry, phase, share, job.conv->kernel[1]);
            float* to[points];   // of the points that the share needs
            int64_t before = 0;  // products in front of the point's
            for (int point = 0; point < points; ++point) {
                const int64_t alive = live.at(point);
                to[point] =
                    packed +
                    (before * width + (first - part) * alive + live.at(point, share) * columns) * depth;
                if (!(live.of_share[share] >> point & 1)) to[point] = nullptr;
                before += alive;
            }
            for (int64_t i = 0; i < channels; ++i) {
                Singles16 transformed[points];
                transform_channel<tile>(taps, block + i * job.taps() * kBlock, transformed);
                for (int point = 0; point < points; ++point) {
                    if (to[point]) put(Product(), to[point], columns, c + i, column, transformed[point]);
                }
            }
        }
    }
}

template <int tile, class Product>
void pack_phases(const PackJob& job, int64_t unit, float* block) {
    const Geometry& geometry = *job.geometry;
    const int64_t first = unit / job.in_blocks() * job.panel(), c = unit % job.in_blocks() * kBlock;
    const int64_t left = geometry.group_in - c;
    float* packed = job.packed;
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            pack_phase<tile, Product>(job, phase, first, c, left < kBlock ? left : kBlock, block, packed);
            winograd::Live live;
            live.find(geometry, phase, tile);
            packed += live.products() * steps_of(*job.conv, geometry.group_in) * padded(geometry.group_out);
        }
    }
}

// [phase][group][panel][input block][tap][step of the block][column]
template <class Product>
void pack_direct(const PackJob& job, int64_t unit, float* block) {
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
                    for (int64_t i = 0; i < channels; ++i) {
                        put(Product(), to, columns, i, column,
                            load_lanes(block + (i * job.taps() + place) * kBlock));
                    }
                    to += steps_of(*job.conv, channels) * columns;
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

void pack_winograd_unit(const PackJob& job, int64_t unit, int slot) {
    float* const block = job.memory + slot * job.memory_a_slot;
    with_product(job, [&](auto product) {
        if (job.conv->tile == winograd::kSmallTile) {
            pack_phases<winograd::kSmallTile, decltype(product)>(job, unit, block);
        } else {
            pack_phases<winograd::kTile, decltype(product)>(job, unit, block);
        }
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
