// The gradient of what a unit does before its convolution, an access at a time; the mathematics are in
// kernels/genfuse_kernels/conv_norm_act/norm_gradient.py. x̂, the activation's derivative and dropout's mask
// are computed again from x.
#pragma once

#include "common/cuda/activation.h"
#include "common/cuda/dropout.h"
#include "common/cuda/norm_table.h"

namespace genfuse {

// As conv_norm_act/cuda_norm_gradient.py fills it, eight bytes a field.
struct GradientArguments {
    double* sums;  // (2, splits, N, C): Σg and Σg·x̂ of each channel
    int64 samples;
    Operand out, gradient, x;
    TableArguments table;
    const float*
        means;  // G1/M and G2/M of each channel, (N, table's, 2), or pixel, (N, H·W, 2); null: constants
    DropoutArguments dropout;
    double slope;
    int64 activation;
    int64 rms;  // a pixel's mean is 0 whatever x is
    Tile tile;
};

// x̂ and the norm's result of an access; g, in the place of the gradient.
template <int Count>
struct Differentiated {
    float standardised[Count], rstd[Count], scale[Count], g[Count];

    // With the rows of its channels, and of its pixels where a pixel is normalised.
    template <class Of, class Elements>
    __device__ Differentiated(const Elements& x, const Elements& gradient, bool normalises,
                              const TableRows<Of::channels>& rows, bool of_pixel, const PixelRows<Of>& pixel,
                              int activation, float slope) {
        float result[Count];
        x.widen_to(standardised);
        gradient.widen_to(g);
#pragma unroll
        for (int j = 0; j < Count; ++j) {
            const int c = Of::channels == 1 ? 0 : j;
            rstd[j] = of_pixel ? pixel.rstd(j) : normalises ? rows.rstd[c] : 1;
            scale[j] = normalises ? rows.scale[c] : 1;
            if (normalises) {
                standardised[j] = (standardised[j] - (of_pixel ? pixel.mean(j) : rows.mean[c])) * rstd[j];
            }
            result[j] = normalises ? fused(standardised[j], scale[j], rows.offset[c]) : standardised[j];
        }
        differentiate(activation, slope, result, g);
    }
};

// Called by all threads of the block.
template <class Spot, int Channels>
__device__ void store_sums(const GradientArguments& arguments, const Spot& spot,
                           const float (&plain)[Channels], const float (&weighted)[Channels], double* room) {
    const int64 samples = arguments.samples;
    const int64 row = (spot.split * samples + spot.sample) * spot.channels + spot.channel;
    double* to = arguments.sums + row;
#pragma unroll
    for (int which = 0; which < 2; ++which) {
        double value[Channels];
#pragma unroll
        for (int c = 0; c < Channels; ++c)
            value[c] = static_cast<double>(which == 0 ? plain[c] : weighted[c]);
        lane_sums<kTileThreads>(spot.lanes, room, value);
        if (spot.leads()) {
#pragma unroll
            for (int c = 0; c < Channels; ++c) to[c] = value[c];
        }
        to += arguments.tile.splits * samples * spot.channels;
    }
}

// `sums`: Σg and Σg·x̂ of the thread's channels; `writes`: the gradient of x. Both at once where what is
// written needs no sums over space.
template <bool sums, bool writes, class Stored, Order order, class Index>
__device__ void gradient_pass(const GradientArguments& arguments, double* room) {
    using Of = Access<Stored, order>;
    using Elements = Packed<Stored, Of::numel>;
    const Spot<Stored, order, Index> spot(arguments.tile);
    const TableArguments& table = arguments.table;
    const int64 pixels = spot.sample * static_cast<int64>(spot.positions);
    const bool normalises = table.channels != nullptr, there = spot.channel < spot.channels;
    const TableRows<Of::channels> rows(table, spot.sample, spot.channel, there);
    float means[2 * Of::channels] = {}, plain[Of::channels] = {}, weighted[Of::channels] = {};
    if (writes && !sums && arguments.means && !table.pixels && there) {
        const int64 row = spot.sample * table.table_channels + table.first_channel + spot.channel;
#pragma unroll
        for (int j = 0; j < 2 * Of::channels; ++j) means[j] = arguments.means[2 * row + j];
    }
    for (Index start = spot.begin; start < spot.end; start += spot.chunk) {
        uint32 kept = 0;
        if (arguments.dropout.seeds) {
            kept = Mask(arguments.dropout, spot.sample).of_chunk(spot, table.first_channel, start);
        }
#pragma unroll 1
        for (int first = 0; first < kAccesses; first += kAtOnce) {
            Elements x[kAtOnce], gradient[kAtOnce];
            spot.load(arguments.x, start, first, x);
            spot.load(arguments.gradient, start, first, gradient);
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const Index position = spot.position(start, first + i);
                if (!spot.exists(position)) continue;
                const PixelRows<Of> pixel(table.pixels, pixels + position);
                Differentiated<Of::numel> of(x[i], gradient[i], normalises, rows, table.pixels != nullptr,
                                             pixel, static_cast<int>(arguments.activation),
                                             static_cast<float>(arguments.slope));
                if (arguments.dropout.seeds) drop(arguments.dropout, kept >> ((first + i) * Of::numel), of.g);
                if (sums) {
#pragma unroll
                    for (int j = 0; j < Of::numel; ++j) {
                        const int c = Of::channels == 1 ? 0 : j;
                        plain[c] += of.g[j];
                        weighted[c] = fused(of.g[j], of.standardised[j], weighted[c]);
                    }
                }
                if (!writes) continue;
                const PixelRows<Of> of_pixel(table.pixels ? arguments.means : nullptr, pixels + position);
#pragma unroll
                for (int j = 0; j < Of::numel; ++j) {
                    const int c = Of::channels == 1 ? 0 : j;
                    const float mean = table.pixels ? of_pixel.mean(j) : means[2 * c];
                    const float product = table.pixels ? of_pixel.rstd(j) : means[2 * c + 1];
                    float value = of.g[j] * of.scale[j];
                    if (arguments.means) {
                        value = fused(-of.standardised[j], product, arguments.rms ? value : value - mean);
                    }
                    of.g[j] = value * of.rstd[j];
                }
                store_packed(of.g, spot.address(arguments.out, position));
            }
        }
    }
    if (sums) store_sums(arguments, spot, plain, weighted, room);
}

}  // namespace genfuse
