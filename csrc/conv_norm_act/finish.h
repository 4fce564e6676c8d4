// The epilogue: what happens to a run of convolved pixels on its way to memory.
#pragma once

#include "common/activation.h"
#include "common/runs.h"
#include "conv_norm_act/job.h"
#include "conv_norm_act/projection.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Sums of the pixels of a few rows, about their first pixel, so that a large mean cancels nothing.
class RowMoments {
  public:
    // A few channels' sums while they are in registers.
    struct Part {
        f32 first, sum, squares;

        GENFUSE_INLINE void add(f32 value) {
            const f32 deviation = value - first;
            sum += deviation;
            squares = fma(deviation, deviation, squares);
        }
    };

    // Whether the next pixel is the one that all others are taken about.
    bool empty() const { return count_ == 0; }
    void begin(int lane, f32 first) { store(first_ + lane, first); }

    Part part(int lane) const {
        return {load<f32>(first_ + lane), load<f32>(sum_ + lane), load<f32>(squares_ + lane)};
    }

    void keep(int lane, const Part& part) {
        store(sum_ + lane, part.sum);
        store(squares_ + lane, part.squares);
    }

    void count(int64_t pixels) { count_ += pixels; }

    void add(const float* pixels, int64_t pixel_count) {
        for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
            if (empty()) begin(lane, load<f32>(pixels + lane));
            Part sums = part(lane);
            for (int64_t i = 0; i < pixel_count; ++i) sums.add(load<f32>(pixels + i * kBlockLanes + lane));
            keep(lane, sums);
        }
        count(pixel_count);
    }

    const float* first() const { return first_; }

    // Mean, as its distance from `base`, and sum of squared deviations of 16 channels; at least one pixel was
    // added.
    void write(const float* base, float* mean, float* squares) const {
        const f32 share = broadcast<f32>(1.0f / static_cast<float>(count_));
        for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
            const f32 sum = load<f32>(sum_ + lane);
            const f32 average = sum * share;
            const f32 rest = load<f32>(squares_ + lane) - sum * average;
            store(mean + lane, load<f32>(first_ + lane) - load<f32>(base + lane) + average);
            store(squares + lane, rest < 0.0f ? f32{} : rest);
        }
    }

  private:
    float first_[kBlockLanes] = {}, sum_[kBlockLanes] = {}, squares_[kBlockLanes] = {};
    int64_t count_ = 0;
};

// Writes output channels [k, k + lanes) of sample n.
template <class Stored>
class Finish {
  public:
    Finish(const ConvJob& job, int64_t n, int64_t k, int lanes, float* residual)
        : job_(job), epilogue_(job.args->epilogue), n_(n), k_(k), lanes_(lanes), residual_(residual) {
        for (int lane = 0; lane < lanes; ++lane) {
            if (epilogue_.bias) offset_[lane] += epilogue_.bias[k + lane];
            if (epilogue_.shift) offset_[lane] += epilogue_.shift[n * epilogue_.shift_stride + k + lane];
        }
    }

    // `count` pixels of row y, from column 0 on; `sums` are the convolution's and are overwritten.
    //
    // Where rows are pooled, they come in order from an even one on, and an even row's `sums` stay untouched
    // until the next row is done.
    void row(int64_t y, int64_t count, float* sums, RowMoments* moments) {
        const bool pool = epilogue_.pool[0] * epilogue_.pool[1] > 1;
        RowMoments* const of_row = pool ? nullptr : moments;
        if (epilogue_.projection) {
            add_projection(y, count, sums);
        } else if (epilogue_.residual.data) {
            load_run<Stored>(epilogue_.residual, n_, k_, lanes_, y, 0, count, residual_);
        }
        const genfuse_image& out = job_.args->out;
        if (epilogue_.activation == GENFUSE_IDENTITY && !pool && lanes_ == kBlockLanes &&
            (out.layout == GENFUSE_CHANNELS_LAST ||
             (out.layout == GENFUSE_BLOCKED && k_ % kBlockLanes == 0))) {
            Stored* const to = row_of<Stored>(out, n_, k_, y);
            const auto put = [to, &out](int64_t i, int lane, f32 value) {
                narrow(to + i * out.stride_w + lane, value);
            };
            return moments ? combine<true>(count, sums, moments, put)
                           : combine<false>(count, sums, nullptr, put);
        }
        const auto in_place = [sums](int64_t i, int lane, f32 value) {
            store(sums + i * kBlockLanes + lane, value);
        };
        if (epilogue_.activation != GENFUSE_IDENTITY) {
            combine<false>(count, sums, nullptr, in_place);
            activate(epilogue_.activation, epilogue_.slope, sums, count * kBlockLanes);
            if (of_row) of_row->add(sums, count);
        } else if (of_row) {
            combine<true>(count, sums, of_row, in_place);
        } else {
            combine<false>(count, sums, nullptr, in_place);
        }
        if (!pool) {
            store_run<Stored>(job_.args->out, n_, k_, lanes_, y, 0, count, sums);
        } else if (epilogue_.pool[0] == 2 && y % 2 == 0) {
            even_ = sums;
        } else {
            store_pooled(y, count, epilogue_.pool[0] == 2 ? even_ : sums, sums, moments);
        }
    }

    // Keeps the moments of some rows as the sample's partial result number `index`.
    void keep(const RowMoments& moments, int64_t index) const {
        const float zero[kBlockLanes] = {};
        float mean[kBlockLanes], squares[kBlockLanes];
        moments.write(zero, mean, squares);
        float* const to = job_.partial + (n_ * job_.partial_rows + index) * 2 * job_.out_channels + k_;
        const size_t bytes = static_cast<size_t>(lanes_) * sizeof(float);
        __builtin_memcpy(to, mean, bytes);
        __builtin_memcpy(to + job_.out_channels, squares, bytes);
    }

  private:
    // The 1x1 convolution of the residual's row y.
    void add_projection(int64_t y, int64_t count, float* sums) const {
        const int64_t group_out = job_.geometry->group_out;
        const genfuse_image &image = epilogue_.residual, &skip = epilogue_.residual_skip;
        const int64_t block = k_ / group_out * blocks_of(group_out) + k_ % group_out / kBlock;
        const int64_t channels = image.channels + (skip.data ? skip.channels : 0);
        const float* const panel = epilogue_.projection + block * channels * kBlock;
        project_row<Stored>(image, n_, y, panel, count, residual_, sums);
        if (skip.data) {
            project_row<Stored>(skip, n_, y, panel + int64_t{image.channels} * kBlock, count, residual_,
                                sums);
        }
    }

    // The means of pairs of columns of two rows, or of one row twice.
    void store_pooled(int64_t y, int64_t count, float* even, const float* odd, RowMoments* moments) const {
        const int64_t step = epilogue_.pool[1], columns = count / step;
        average(even, odd, columns, step);
        if (moments) moments->add(even, columns);
        store_run<Stored>(job_.args->out, n_, k_, lanes_, y / epilogue_.pool[0], 0, columns, even);
    }

    // Means of 2x2 pixels, or of 2x1 where the step is 1, in place of the even row's first ones.
    static void average(float* even, const float* odd, int64_t count, int64_t step) {
        const f32 quarter = broadcast<f32>(0.25f);
        for (int64_t i = 0; i < count; ++i) {
            for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
                const int64_t left = step * i * kBlockLanes + lane;
                const int64_t right = left + (step - 1) * kBlockLanes;
                const f32 upper = load<f32>(even + left) + load<f32>(even + right);
                const f32 lower = load<f32>(odd + left) + load<f32>(odd + right);
                store(even + i * kBlockLanes + lane, (upper + lower) * quarter);
            }
        }
    }

    // Bias, shift, residual and scale in one pass, with the moments where nothing comes between;
    // put(pixel, lane, values) takes the result.
    template <bool with_moments, class Put>
    void combine(int64_t count, const float* sums, RowMoments* moments, Put put) const {
        const f32 scale = broadcast<f32>(epilogue_.scale);
        const bool has_residual = epilogue_.residual.data && !epilogue_.projection;
        for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
            const f32 offset = load<f32>(offset_ + lane);
            const auto value = [&](int64_t i) {
                const f32 sum = load<f32>(sums + i * kBlockLanes + lane) + offset;
                return (has_residual ? sum + load<f32>(residual_ + i * kBlockLanes + lane) : sum) * scale;
            };
            if (with_moments && moments->empty()) moments->begin(lane, value(0));
            RowMoments::Part part = with_moments ? moments->part(lane) : RowMoments::Part{};
            for (int64_t i = 0; i < count; ++i) {
                const f32 result = value(i);
                if (with_moments) part.add(result);
                put(i, lane, result);
            }
            if (with_moments) moments->keep(lane, part);
        }
        if (with_moments) moments->count(count);
    }

    const ConvJob& job_;
    const genfuse_epilogue& epilogue_;
    const int64_t n_, k_;
    const int lanes_;
    float* const residual_;
    float* even_ = nullptr;  // the row before, to be pooled
    float offset_[kBlockLanes] = {};
};

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
