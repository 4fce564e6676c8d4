// Sizes that Winograd's kernel, its launcher and the packing of its weights agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace winograd {

constexpr int kSmallTile = 2, kTile = 4;  // output pixels along an axis of a tile: genfuse_conv.tile
constexpr int kPartBlocks = 4;            // blocks of output channels whose products are held at once
constexpr int kPart = kPartBlocks * kBlock;
// Blocks of input channels that a thread transforms into shared memory: neighbouring lines of one tile, which
// two threads would take from each other's caches.
constexpr int64_t kInputBlocks = 4;
constexpr int64_t kPlanePad = 16;  // keeps equal places of two planes off the same cache set

// Input pixels along an axis of a tile.
constexpr int window_of(int tile) {
    return tile + 2;
}

// Products of a tile, for each pair of channels.
constexpr int points_of(int tile) {
    return window_of(tile) * window_of(tile);
}

// Which of its products a phase needs: a tap that a phase lacks at the window's edge leaves the products
// of the point 0 (first tap) or ∞ (last tap) zero.
inline uint64_t live_points(const Geometry& geometry, const Phase& phase, int tile) {
    const int window = window_of(tile);
    bool has[2][2] = {{false, false}, {false, false}};
    for (const Tap& tap : phase.taps) {
        has[0][0] |= tap.y == geometry.first_tap[0];
        has[0][1] |= tap.y == geometry.first_tap[0] + 2;
        has[1][0] |= tap.x == geometry.first_tap[1];
        has[1][1] |= tap.x == geometry.first_tap[1] + 2;
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

// Tiles of a pass along an axis (0 height, 1 width).
inline int64_t tiles(const Geometry& geometry, int axis, int tile) {
    const int64_t out = axis ? geometry.out_width : geometry.out_height;
    return ((out + geometry.out_step[axis] - 1) / geometry.out_step[axis] + tile - 1) / tile;
}

inline int64_t input_parts(int64_t blocks) {
    return (blocks + kInputBlocks - 1) / kInputBlocks;
}

// Floats from one phase's packed weights to the next: every point has room, live or not.
inline int64_t packed_phase(const genfuse_conv& conv) {
    return points_of(conv.tile) * steps_of(conv, conv.in_channels) * padded(conv.out_channels);
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
        depth = steps_of(job.args->conv, padded(job.in_channels));
        out_columns = tile * tiles_wide * geometry.out_step[1];
        phases = geometry.out_step[1];
        product_plane = job.rows_a_unit * tiles_wide * kPart + kPlanePad;
        Carver carver(memory);
        staged = carver.take<float>((tile * job.rows_a_unit + 2) * columns * kBlock);
        source = carver.take<float>(job.args->width * kBlock);
        products = carver.take<float>(phases * points * product_plane);
        output = carver.take<float>(tile * out_columns * kBlock);
        residual = carver.take<float>(geometry.out_width * kBlock);
        own_input = carver.take<float>(job.shares_input ? 0 : points * input_plane(job.rows_a_unit));
        used = carver.used();
    }

    // In steps of the product's sum, each 4 bytes.
    int64_t input_plane(int64_t rows) const { return rows * tiles_wide * depth + kPlanePad; }

    int tile, points;
    int64_t tiles_high, tiles_wide, columns, depth, out_columns, phases, product_plane;
    float *staged, *source, *products, *output, *residual, *own_input;
    size_t used;
};

}  // namespace winograd
}  // namespace genfuse
