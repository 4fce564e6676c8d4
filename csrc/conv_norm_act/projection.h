// A 1x1 convolution of the residual, added to sums that are about to be finished: it costs its products, and
// no image between the two convolutions is written or read.
#pragma once

#include <type_traits>

#include "common/runs.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int kProjectedPixels = 8 / kParts;  // at once: eight vectors of sums are in registers

// sums[pixel][16] += Σ over the channels of from[pixel·stride + channel]·panel[channel][16]. A pixel's sum
// runs over the channels in order, whatever its neighbours.
template <int pixels = kProjectedPixels>
void project_pixels(const float* from, int64_t stride, const float* panel, int64_t channels, int64_t count,
                    float* sums) {
    for (; count >= pixels; count -= pixels, from += pixels * stride, sums += pixels * kBlockLanes) {
        f32 sum[pixels][kParts];
#pragma GCC unroll 8
        for (int i = 0; i < pixels; ++i) {
#pragma GCC unroll 4
            for (int p = 0; p < kParts; ++p) {
                sum[i][p] = load<f32>(sums + i * kBlockLanes + p * kLanes<float>);
            }
        }
        for (int64_t channel = 0; channel < channels; ++channel) {
            f32 weights[kParts];
#pragma GCC unroll 4
            for (int p = 0; p < kParts; ++p) {
                weights[p] = load<f32>(panel + channel * kBlockLanes + p * kLanes<float>);
            }
#pragma GCC unroll 8
            for (int i = 0; i < pixels; ++i) {
                const f32 value = broadcast<f32>(from[i * stride + channel]);
#pragma GCC unroll 4
                for (int p = 0; p < kParts; ++p) sum[i][p] = fma(value, weights[p], sum[i][p]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < pixels; ++i) {
#pragma GCC unroll 4
            for (int p = 0; p < kParts; ++p) {
                store(sums + i * kBlockLanes + p * kLanes<float>, sum[i][p]);
            }
        }
    }
    if constexpr (pixels > 1) {
        if (count > 0) project_pixels<pixels / 2>(from, stride, panel, channels, count, sums);
    }
}

// Row y of an image, all its channels: read where they lie where a pixel's are adjacent floats, else 16 at a
// time through `room`, with the same bits.
template <class Stored>
void project_row(const genfuse_image& image, int64_t n, int64_t y, const float* panel, int64_t count,
                 float* room, float* sums) {
    if constexpr (std::is_same<Stored, float>::value) {
        if (image.layout == GENFUSE_CHANNELS_LAST) {
            project_pixels(row_of<float>(image, n, 0, y), image.stride_w, panel, image.channels, count, sums);
            return;
        }
    }
    for (int64_t c = 0; c < image.channels; c += kBlockLanes) {
        const int lanes =
            static_cast<int>(image.channels - c < kBlockLanes ? image.channels - c : kBlockLanes);
        load_run<Stored>(image, n, c, lanes, y, 0, count, room);
        project_pixels(room, kBlockLanes, panel + c * kBlockLanes, lanes, count, sums);
    }
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
