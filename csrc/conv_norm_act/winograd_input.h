// What Winograd's convolution and its weight gradient share: the input's transform, and where taps stand in
// its windows.
#pragma once

#include "common/gemm.h"
#include "conv_norm_act/stage.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using winograd::kLargeTile;
using winograd::kSmallTile;
using winograd::kTile;
using winograd::window_of;

constexpr float kA = 0.70710678118654752f,
                kB = 1.41421356237309505f;  // the points ±a, ±b; a² = ½, b² = 2, ab = 1

GENFUSE_INLINE f32 times(float factor, f32 value) {
    return broadcast<f32>(factor) * value;
}

GENFUSE_INLINE f32 plus_times(f32 sum, float factor, f32 value) {
    return fma(broadcast<f32>(factor), value, sum);
}

// Bᵀd.
GENFUSE_INLINE void transform_input(const f32 (&d)[window_of(kSmallTile)], f32 (&to)[window_of(kSmallTile)]) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[3] - d[1];
}

GENFUSE_INLINE void transform_input(const f32 (&d)[window_of(kTile)], f32 (&to)[window_of(kTile)]) {
    const f32 even_b = plus_times(d[4], -2.0f, d[2]), odd_b = plus_times(d[3], -2.0f, d[1]);
    const f32 even_a = plus_times(d[4], -0.5f, d[2]), odd_a = plus_times(d[3], -0.5f, d[1]);
    to[0] = d[0] + plus_times(d[4], -2.5f, d[2]);
    to[1] = plus_times(even_b, kA, odd_b);
    to[2] = plus_times(even_b, -kA, odd_b);
    to[3] = plus_times(even_a, kB, odd_a);
    to[4] = plus_times(even_a, -kB, odd_a);
    to[5] = d[1] + plus_times(d[5], -2.5f, d[3]);
}

GENFUSE_INLINE void transform_input(const f32 (&d)[window_of(kLargeTile)], f32 (&to)[window_of(kLargeTile)]) {
    const f32 even_1 = plus_times(d[2] + d[6], -4.25f, d[4]), odd_1 = plus_times(d[1] + d[5], -4.25f, d[3]);
    const f32 even_h = plus_times(plus_times(d[6], -5.0f, d[4]), 4.0f, d[2]);
    const f32 odd_h = plus_times(plus_times(d[5], -5.0f, d[3]), 4.0f, d[1]);
    const f32 even_2 = plus_times(plus_times(d[6], -1.25f, d[4]), 0.25f, d[2]);
    const f32 odd_2 = plus_times(plus_times(d[5], -1.25f, d[3]), 0.25f, d[1]);
    to[0] = plus_times(d[0] - d[6], 5.25f, d[4] - d[2]);
    to[1] = even_1 + odd_1;
    to[2] = even_1 - odd_1;
    to[3] = plus_times(even_h, 0.5f, odd_h);
    to[4] = plus_times(even_h, -0.5f, odd_h);
    to[5] = plus_times(even_2, 2.0f, odd_2);
    to[6] = plus_times(even_2, -2.0f, odd_2);
    to[7] = plus_times(d[7] - d[1], 5.25f, d[3] - d[5]);
}

// Of three functions, the one for tiles of this size.
template <class Run>
constexpr Run of_tile(int64_t tile, Run small, Run usual, Run large) {
    return tile == kSmallTile ? small : tile == kTile ? usual : large;
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

// The transformed input of rows of tiles from `first` on: of a tile's 16 channels at a point, at
// data[point·plane + tile·(number) + share·(number) + block·(number)].
struct Input {
    float* data;
    int64_t first;
    int64_t plane, tile, share, block;  // floats from one to the next
};

// Calls run(n, row within the sample, rows, first tile) for the stretches of [first, last) that lie in one
// sample.
template <class Frame, class Run>
void each_sample(const Frame& frame, int64_t first, int64_t last, Run run) {
    for (int64_t row = first; row < last;) {
        const int64_t n = row / frame.tiles_high, within = row % frame.tiles_high;
        const int64_t left = frame.tiles_high - within;
        const int64_t rows = left < last - row ? left : last - row;
        run(n, within, rows, row);
        row += rows;
    }
}

GENFUSE_INLINE void keep(Singles, float* to, f32 transformed) {
    store(to, transformed);
}

GENFUSE_INLINE void keep(Pairs, float* to, f32 transformed) {
    narrow(reinterpret_cast<bfloat16*>(to), transformed);
}

// What a share's tiles read of the staged pixels, and which of their points are wanted.
struct View {
    const float* pixels;
    int64_t down, right;    // floats from a pixel to the next
    int first[2], last[2];  // the window's places that are read
    uint64_t live;
};

template <class Frame>
View view_of(const ConvJob& job, const Frame& frame, int number) {
    const Geometry& geometry = *job.geometry;
    const int steps[2] = {geometry.in_step[0], geometry.in_step[1]};
    const int remainders[2] = {number / steps[1], number % steps[1]};
    View view{};
    for (int axis = 0; axis < 2; ++axis) {
        const winograd::Share share = winograd::share_of(geometry, axis, remainders[axis]);
        view.first[axis] = share.place;
        view.last[axis] = share.place + frame.tile + share.taps - 2;
    }
    view.down = steps[0] * frame.columns * kBlock;
    view.right = steps[1] * kBlock;
    view.pixels = frame.staged + (remainders[0] * frame.columns + remainders[1]) * kBlock;
    view.live = ~uint64_t{0};
    if (winograd::shares(geometry) > 1) {
        view.live = winograd::live_points(geometry, geometry.passes[0].phases[0], number, frame.tile);
    }
    return view;
}

// A tile whose first pixel is `pixel`. `reach` places of the window are read along both axes, from the first
// on, and as many points wanted; 0: as the view says.
template <int tile, class Product, int reach>
void transform_tile(const View& view, const float* pixel, float* to, int64_t plane) {
    constexpr int window = window_of(tile);
    constexpr int steps = kLanes<float> / Product::kChannels;
    const auto reads = [&view](int axis, int place) {
        return reach ? place < reach : place >= view.first[axis] && place <= view.last[axis];
    };
    const int top = reach ? 0 : view.first[0], left = reach ? 0 : view.first[1];
    for (int part = 0; part < kParts; ++part, pixel += kLanes<float>, to += steps) {
        f32 vertical[window][window];
#pragma GCC unroll 8
        for (int j = 0; j < window; ++j) {
            f32 column[window], transformed[window];
#pragma GCC unroll 8
            for (int i = 0; i < window; ++i) {
                column[i] = reads(0, i) && reads(1, j)
                                ? load<f32>(pixel + (i - top) * view.down + (j - left) * view.right)
                                : f32{};
            }
            transform_input(column, transformed);
#pragma GCC unroll 8
            for (int i = 0; i < window; ++i) vertical[i][j] = transformed[i];
        }
#pragma GCC unroll 8
        for (int i = 0; i < window; ++i) {
            f32 transformed[window];
            transform_input(vertical[i], transformed);
#pragma GCC unroll 8
            for (int j = 0; j < window; ++j) {
                const int point = i * window + j;
                const bool wanted = reach ? i < reach && j < reach : view.live >> point & 1;
                if (wanted) keep(Product(), to + point * plane, transformed[j]);
            }
        }
    }
}

// Whether a view's tiles read `reach` places from the window's first on along both axes, and want as many
// points.
template <int tile>
bool reaches(const View& view, int reach) {
    constexpr int window = window_of(tile);
    for (int axis = 0; axis < 2; ++axis) {
        if (view.first[axis] != 0 || view.last[axis] != reach - 1) return false;
    }
    for (int point = 0; point < window * window; ++point) {
        const bool wanted = point / window < reach && point % window < reach;
        if ((view.live >> point & 1) != static_cast<uint64_t>(wanted)) return false;
    }
    return true;
}

template <int tile, class Product>
void transform_tiles(const View& view, const float* pixels, int64_t tiles, const Input& input, float* to) {
    constexpr int window = window_of(tile);
    const auto transform = reaches<tile>(view, window)       ? transform_tile<tile, Product, window>
                           : reaches<tile>(view, window - 1) ? transform_tile<tile, Product, window - 1>
                                                             : transform_tile<tile, Product, 0>;
    for (int64_t x = 0; x < tiles; ++x) {
        transform(view, pixels + tile * x * view.right, to + x * input.tile, input.plane);
    }
}

// A block of channels of rows [first, last).
template <class Stored, class Product, class Frame>
void fill_input(const ConvJob& job, const Frame& frame, const Input& input, int64_t block, int64_t first,
                int64_t last) {
    const int64_t channel = block * kBlock;
    const int64_t left = job.in_channels - channel;
    const int lanes = static_cast<int>(left < kBlock ? left : kBlock);
    const Geometry& geometry = *job.geometry;
    const auto transform = of_tile(frame.tile, transform_tiles<kSmallTile, Product>,
                                   transform_tiles<kTile, Product>, transform_tiles<kLargeTile, Singles>);
    each_sample(frame, first, last, [&](int64_t n, int64_t within, int64_t rows, int64_t row) {
        stage<Stored>(job, n, channel, lanes, geometry.in_step[0] * frame.tile * within,
                      winograd::extent(geometry, 0, frame.tile, rows), frame.source, frame.staged);
        for (int share = 0; share < winograd::shares(geometry); ++share) {
            const View view = view_of(job, frame, share);
            for (int64_t r = 0; r < rows; ++r) {
                float* const to = input.data + (row + r - input.first) * frame.tiles_wide * input.tile +
                                  share * input.share + block * input.block;
                transform(view, view.pixels + frame.tile * r * view.down, frame.tiles_wide, input, to);
            }
        }
    });
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
