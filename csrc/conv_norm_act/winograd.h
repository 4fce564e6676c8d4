// Sizes that Winograd's kernel, its launcher and the packing of its weights agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace winograd {

// Output pixels along an axis of a tile: genfuse_conv.tile.
constexpr int kSmallTile = 2, kTile = 4, kLargeTile = 6;
constexpr int kPartBlocks = 4;  // blocks of output channels whose products are held at once
constexpr int kPart = kPartBlocks * kBlock;
// Blocks of input channels that a thread transforms into shared memory: neighbouring lines of one tile, which
// two threads would take from each other's caches.
constexpr int64_t kInputBlocks = 4;
// Steps summed in registers at once: the output's transform amplifies a large tile's roundings four times as
// much.
constexpr int64_t kDepth = 256, kLargeTileDepth = 128;
constexpr int64_t kPlanePad = 16;  // keeps equal places of two planes off the same cache set

// Input pixels along an axis of a tile.
constexpr int window_of(int tile) {
    return tile + 2;
}

// Products of a tile, for each pair of channels.
constexpr int points_of(int tile) {
    return window_of(tile) * window_of(tile);
}

// A strided convolution is a sum of convolutions at stride 1, each of the input's rows and columns of one
// remainder and of the taps that read them: its shares. Along an axis, the taps of a share are at
// place, place + 1, ... of the window's three; a single one is in the middle, where the points 0 and ∞ give
// nothing.
struct Share {
    int remainder, place, taps;
};

__attribute__((always_inline)) inline Share share_of(const Geometry& geometry, int axis, int remainder) {
    const int step = geometry.in_step[axis];
    if (step == 1) return {0, 0, 3};
    const int taps = (geometry.last_tap[axis] - geometry.first_tap[axis] - remainder) / step + 1;
    return {remainder, taps == 1 ? 1 : 0, taps};
}

__attribute__((always_inline)) inline int shares(const Geometry& geometry) {
    return geometry.in_step[0] * geometry.in_step[1];
}

constexpr int kMostShares = 4;

// Input pixels along an axis from the first that a tile reads to the last that `rows` tiles read, and one.
__attribute__((always_inline)) inline int64_t extent(const Geometry& geometry, int axis, int tile,
                                                     int64_t rows) {
    const int step = geometry.in_step[axis];
    const int taps = step == 1 ? 3 : geometry.last_tap[axis] - geometry.first_tap[axis] + 1;
    return step * (tile * rows - 1) + taps;
}

// Which of its products a phase needs of a share: without a tap at the window's first place, those of the
// point 0 are zero, and without one at the last, those of ∞.
__attribute__((always_inline)) inline uint64_t live_points(const Geometry& geometry, const Phase& phase,
                                                           int share, int tile) {
    const int window = window_of(tile);
    bool has[2][2] = {{false, false}, {false, false}};
    for (const Tap& tap : phase.taps) {
        for (int axis = 0; axis < 2; ++axis) {
            const int step = geometry.in_step[axis];
            const Share own = share_of(geometry, axis, axis ? share % step : share / geometry.in_step[1]);
            const int from_first = (axis ? tap.x : tap.y) - geometry.first_tap[axis];
            if (from_first % step != own.remainder) continue;
            has[axis][0] |= from_first / step + own.place == 0;
            has[axis][1] |= from_first / step + own.place == 2;
        }
    }
    uint64_t live = 0;
    for (int point = 0; point < points_of(tile); ++point) {
        const int place[2] = {point / window, point % window};
        bool alive = true;
        for (int axis = 0; axis < 2; ++axis) {
            if (place[axis] == 0 && !has[axis][0]) alive = false;
            if (place[axis] == window - 1 && !has[axis][1]) alive = false;
        }
        live |= static_cast<uint64_t>(alive) << point;
    }
    return live;
}

// Of all shares of a phase.
struct Live {
    __attribute__((always_inline)) void find(const Geometry& geometry, const Phase& phase, int tile) {
        for (int share = 0; share < shares(geometry); ++share) {
            of_share[share] = live_points(geometry, phase, share, tile);
            any |= of_share[share];
        }
    }

    // Shares before `end` that a point is summed over.
    __attribute__((always_inline)) int at(int point, int end = kMostShares) const {
        int count = 0;
        for (int share = 0; share < end; ++share) count += static_cast<int>(of_share[share] >> point & 1);
        return count;
    }

    // Of the sum over all shares' channels; weights are packed for them alone.
    __attribute__((always_inline)) int64_t products() const {
        int64_t count = 0;
        for (const uint64_t live : of_share) count += __builtin_popcountll(live);
        return count;
    }

    uint64_t of_share[kMostShares] = {}, any = 0;
};

// Tiles of a pass along an axis (0 height, 1 width).
inline int64_t tiles(const Geometry& geometry, int axis, int tile) {
    const int64_t out = axis ? geometry.out_width : geometry.out_height;
    return ((out + geometry.out_step[axis] - 1) / geometry.out_step[axis] + tile - 1) / tile;
}

inline int64_t input_parts(int64_t blocks) {
    return (blocks + kInputBlocks - 1) / kInputBlocks;
}

constexpr int64_t most_steps(int tile) {
    return tile == kLargeTile ? kLargeTileDepth : kDepth;
}

// Of a share's sum over its channels, steps [begin, begin + steps), which are summed in registers at once.
struct Slice {
    int share;
    int64_t begin, steps;
};

// Calls run(slice) for all slices of all shares, in the order in which they are summed.
template <class Run>
__attribute__((always_inline)) inline void each_slice(int shares, int64_t depth, int tile, Run run) {
    const int64_t most = most_steps(tile);
    for (int share = 0; share < shares; ++share) {
        for (int64_t begin = 0; begin < depth; begin += most) {
            run(Slice{share, begin, depth - begin < most ? depth - begin : most});
        }
    }
}

// Floats of the packed weights of all phases.
__attribute__((always_inline)) inline int64_t packed_floats(const genfuse_conv& conv,
                                                            const Geometry& geometry) {
    int64_t products = 0;
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            Live live;
            live.find(geometry, phase, conv.tile);
            products += live.products();
        }
    }
    return products * steps_of(conv, conv.in_channels) * padded(conv.out_channels);
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const ConvJob& job, float* memory) {
        const Geometry& geometry = *job.geometry;
        tile = job.args->conv.tile;
        points = points_of(tile);
        tiles_high = tiles(geometry, 0, tile);
        tiles_wide = tiles(geometry, 1, tile);
        columns = static_cast<int64_t>(geometry.columns.size());
        share_depth = steps_of(job.args->conv, padded(job.in_channels));
        depth = shares(geometry) * share_depth;
        out_columns = tile * tiles_wide * geometry.out_step[1];
        phases = geometry.out_step[1];
        product_plane = job.rows_a_unit * tiles_wide * kPart + kPlanePad;
        Carver carver(memory);
        staged = carver.take<float>(extent(geometry, 0, tile, job.rows_a_unit) * columns * kBlock);
        source = carver.take<float>(job.args->width * kBlock);
        products = carver.take<float>(phases * points * product_plane);
        output = carver.take<float>(tile * out_columns * kBlock);
        residual = carver.take<float>(geometry.out_width * kBlock);
        own_input = carver.take<float>(job.shares_input ? 0 : points * input_plane(job.rows_a_unit));
        const int64_t most = most_steps(tile), steps = share_depth < most ? share_depth : most;
        const int64_t taps = int64_t{job.args->conv.kernel[0]} * job.args->conv.kernel[1];
        kernels = carver.take<float>(job.pack ? taps * padded(job.in_channels) * kPart : 0);
        packed = carver.take<float>(job.pack ? points * steps * kPart : 0);
        used = carver.used();
    }

    // In steps of the product's sum, each 4 bytes.
    int64_t input_plane(int64_t rows) const { return rows * tiles_wide * depth + kPlanePad; }

    int tile, points;
    int64_t tiles_high, tiles_wide, columns, out_columns, phases, product_plane;
    int64_t share_depth, depth;  // steps of the sum over a share's channels, and over all shares'
    float *staged, *source, *products, *output, *residual, *own_input;
    float *kernels, *packed;  // a part's weights, and a slice of them transformed
    size_t used;
};

}  // namespace winograd
}  // namespace genfuse
