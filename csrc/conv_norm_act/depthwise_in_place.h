// Depthwise convolution of an image in channels last that is read where it lies: nothing is staged, and all
// channels of a few pixels are written before the next pixels.
#pragma once

#include "common/activation.h"
#include "common/runs.h"
#include "conv_norm_act/depthwise.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

template <class Stored>
class DepthwiseInPlace {
    // Summed at once: their sums, what a row of taps reads, and a weight fill the registers.
    static constexpr int kPixels = kVectorBytes == 64 ? 8 : 4;
    static constexpr int32_t kEverySecond = -3;  // three taps, stride 2

  public:
    DepthwiseInPlace(const ConvJob& job, const depthwise::Frame& frame, int64_t n)
        : job_(job), geometry_(*job.geometry), phase_(geometry_.passes[0].phases[0]), frame_(frame), n_(n) {
        const int64_t step = geometry_.in_step[1];
        const int64_t last = geometry_.in_width - 1 - geometry_.last_tap[1];
        inner_ = (-geometry_.first_tap[1] + step - 1) / step;
        if (inner_ < 0) inner_ = 0;
        outer_ = last < 0 ? 0 : last / step + 1;
        if (outer_ > geometry_.out_width) outer_ = geometry_.out_width;
        const genfuse_conv& conv = job.args->conv;
        if (step == 1 && conv.dilation[1] == 1) row_ = conv.kernel[1];
        if (step == 2 && conv.dilation[1] == 1 && conv.kernel[1] == 3) row_ = kEverySecond;
    }

    // Blocks [first, last) of channels of output row y.
    void row(int64_t y, int64_t first, int64_t last) const {
        find_rows(y);
        int64_t x = 0;
        for (; x < geometry_.out_width && (x < inner_ || x >= outer_); ++x) edge(y, x, first, last);
        switch (row_) {
            case 3:
                x = inner<3, 1>(y, x, first, last);
                break;
            case 5:
                x = inner<5, 1>(y, x, first, last);
                break;
            case 7:
                x = inner<7, 1>(y, x, first, last);
                break;
            case kEverySecond:
                x = inner<3, 2>(y, x, first, last);
                break;
            default:
                x = inner<1, 1>(y, x, first, last);
        }
        for (; x < geometry_.out_width; ++x) edge(y, x, first, last);
    }

  private:
    const ConvJob& job_;
    const Geometry& geometry_;
    const Phase& phase_;
    const depthwise::Frame& frame_;
    const int64_t n_;
    int64_t inner_, outer_;  // output columns whose taps all read the image
    // Taps of a row next to each other, whose pixels are loaded once where there is a kernel for as many.
    int32_t row_ = 1;

    // Where each tap's source row begins, or −1.
    void find_rows(int64_t y) const {
        const genfuse_image& x = job_.args->x;
        for (size_t i = 0; i < phase_.taps.size(); ++i) {
            const int64_t row = y * geometry_.in_step[0] + phase_.taps[i].y - geometry_.first_tap[0];
            const int32_t source = geometry_.rows[static_cast<size_t>(row)];
            frame_.offsets[i] = source < 0 ? -1 : n_ * x.stride_n + source * x.stride_h;
        }
    }

    const float* weights(int64_t block) const {
        return job_.args->packed + phase_.packed + block * depthwise::packed_block(geometry_, phase_);
    }

    template <int count>
    GENFUSE_INLINE void write(int64_t y, int64_t x, int64_t channel, f32 (&sum)[count]) const {
        const genfuse_epilogue& epilogue = job_.args->epilogue;
        const genfuse_image& out = job_.args->out;
        Stored* const to = row_of<Stored>(out, n_, channel, y) + x * out.stride_w;
        f32 offset = epilogue.bias ? load<f32>(epilogue.bias + channel) : f32{};
        if (epilogue.shift) offset += load<f32>(epilogue.shift + n_ * epilogue.shift_stride + channel);
        const f32 scale = broadcast<f32>(epilogue.scale);
#pragma GCC unroll 8
        for (int p = 0; p < count; ++p) sum[p] = (sum[p] + offset) * scale;
        if (epilogue.activation != GENFUSE_IDENTITY) {
            float values[count * kLanes<float>];
#pragma GCC unroll 8
            for (int p = 0; p < count; ++p) store(values + p * kLanes<float>, sum[p]);
            activate(epilogue.activation, epilogue.slope, values, count * kLanes<float>);
#pragma GCC unroll 8
            for (int p = 0; p < count; ++p) sum[p] = load<f32>(values + p * kLanes<float>);
        }
#pragma GCC unroll 8
        for (int p = 0; p < count; ++p) narrow(to + p * out.stride_w, sum[p]);
    }

    // Output pixels from column x on, up to the last whose taps all read the image; returns the next one.
    template <int taps, int step>
    int64_t inner(int64_t y, int64_t x, int64_t first, int64_t last) const {
        if (outer_ - x < kPixels) {
            for (; x < outer_; ++x) pixels<1, taps, step>(y, x, first, last);
            return x;
        }
        for (; x < outer_; x += kPixels) {  // the last ones overlap
            pixels<kPixels, taps, step>(y, x + kPixels < outer_ ? x : outer_ - kPixels, first, last);
        }
        return outer_;
    }

    // `count` output pixels from column x on; `taps` of a row are next to each other, read `step` pixels
    // apart, where there is more than one.
    template <int count, int taps, int step>
    void pixels(int64_t y, int64_t x, int64_t first, int64_t last) const {
        const genfuse_image& image = job_.args->x;
        const Stored* const data = static_cast<const Stored*>(image.data);
        const int64_t apart = taps > 1 ? image.stride_w : geometry_.in_step[1] * image.stride_w;
        constexpr int read = (count - 1) * step + taps;
        for (int64_t channel = first * kBlock; channel < last * kBlock; channel += kLanes<float>) {
            const float* weight = weights(channel / kBlock) + channel % kBlock;
            f32 sum[count] = {};
            for (size_t i = 0; i < phase_.taps.size(); i += taps, weight += taps * kBlock) {
                if (frame_.offsets[i] < 0) continue;
                const int64_t column = x * geometry_.in_step[1] + phase_.taps[i].x;
                const Stored* const from = data + frame_.offsets[i] + column * image.stride_w + channel;
                f32 value[read];
#pragma GCC unroll 20
                for (int p = 0; p < read; ++p) value[p] = widen(from + p * apart);
#pragma GCC unroll 8
                for (int tap = 0; tap < taps; ++tap) {
                    const f32 own = load<f32>(weight + tap * kBlock);
#pragma GCC unroll 8
                    for (int p = 0; p < count; ++p) sum[p] = fma(value[p * step + tap], own, sum[p]);
                }
            }
            write(y, x, channel, sum);
        }
    }

    // A pixel some of whose taps read the border.
    void edge(int64_t y, int64_t x, int64_t first, int64_t last) const {
        const genfuse_image& image = job_.args->x;
        const Stored* const data = static_cast<const Stored*>(image.data);
        for (int64_t channel = first * kBlock; channel < last * kBlock; channel += kLanes<float>) {
            const float* weight = weights(channel / kBlock) + channel % kBlock;
            f32 sum[1] = {};
            for (size_t i = 0; i < phase_.taps.size(); ++i, weight += kBlock) {
                const int64_t place = x * geometry_.in_step[1] + phase_.taps[i].x - geometry_.first_tap[1];
                const int32_t column = geometry_.columns[static_cast<size_t>(place)];
                if (frame_.offsets[i] < 0 || column < 0) continue;
                const Stored* const from = data + frame_.offsets[i] + column * image.stride_w + channel;
                sum[0] = fma(widen(from), load<f32>(weight), sum[0]);
            }
            write(y, x, channel, sum);
        }
    }
};

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
