// The epilogue where pixels lie in the lanes: a row of one output channel, as finish.h does it for 16.
#pragma once

#include "common/activation.h"
#include "common/runs.h"
#include "conv_norm_act/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Writes output channel k of sample n. Rows are buffers of `count` values with room for a block more.
template <class Stored>
class FinishPlanar {
  public:
    FinishPlanar(const ConvJob& job, int64_t n, int64_t k, float* residual)
        : job_(job), epilogue_(job.args->epilogue), n_(n), k_(k), residual_(residual) {
        if (epilogue_.bias) offset_ += epilogue_.bias[k];
        if (epilogue_.shift) offset_ += epilogue_.shift[n * epilogue_.shift_stride + k];
    }

    // `count` pixels of row y; `sums` are the convolution's and are overwritten. Where pixels are pooled,
    // rows come in order from an even one on, and an even row's stay untouched until the next row is done.
    void row(int64_t y, int64_t count, float* sums) {
        combine(y, count, sums);
        activate(epilogue_.activation, epilogue_.slope, sums, count);
        if (epilogue_.pool[0] == 1) {
            write(y, count, sums);
        } else if (y % 2 == 0) {
            even_ = sums;
        } else {
            for (int64_t i = 0; i < count / 2; ++i) {
                const float upper = even_[2 * i] + even_[2 * i + 1], lower = sums[2 * i] + sums[2 * i + 1];
                even_[i] = (upper + lower) * 0.25f;
            }
            write(y / 2, count / 2, even_);
        }
    }

  private:
    // Bias, shift, residual and scale.
    void combine(int64_t y, int64_t count, float* sums) {
        const genfuse_image& residual = epilogue_.residual;
        const f32 scale = broadcast<f32>(epilogue_.scale), offset = broadcast<f32>(offset_);
        if (residual.data) {
            load_spread(row_of<Stored>(residual, n_, k_, y), pixel_stride(residual), count, residual_);
        }
        for (int64_t i = 0; i < count; i += kLanes<float>) {
            f32 sum = load<f32>(sums + i) + offset;
            if (residual.data) sum += load<f32>(residual_ + i);
            store(sums + i, sum * scale);
        }
    }

    void write(int64_t y, int64_t count, float* values) const {
        if (job_.partial) keep_moments(y, count, values);
        const genfuse_image& out = job_.args->out;
        store_spread(values, count, pixel_stride(out), row_of<Stored>(out, n_, k_, y));
    }

    // Mean and squared deviations of a row: pieces of a few vectors about one of their pixels, so that a
    // large mean cancels nothing, merged in double (Chan, Golub & LeVeque 1979).
    void keep_moments(int64_t y, int64_t count, float* values) const {
        constexpr int64_t piece = 8 * kLanes<float>;
        double mean = 0, squares = 0;
        for (int64_t begin = 0; begin < count; begin += piece) {
            const int64_t end = count - begin < piece ? count : begin + piece;
            const float a = values[begin], b = values[(begin + end) / 2], c = values[end - 1];
            const float middle = larger(smaller(a, b), smaller(larger(a, b), c));  // no single pixel far off
            for (int64_t i = end; i < end + kLanes<float> && end == count; ++i) values[i] = middle;
            const f32 base = broadcast<f32>(middle);
            f32 sums = {}, of_squares = {};
            for (int64_t i = begin; i < end; i += kLanes<float>) {
                const f32 deviation = load<f32>(values + i) - base;
                sums += deviation;
                of_squares = fma(deviation, deviation, of_squares);
            }
            const double pixels = static_cast<double>(end - begin), before = static_cast<double>(begin);
            const double sum = static_cast<double>(sum_of_lanes(sums)), average = sum / pixels;
            const double rest = static_cast<double>(sum_of_lanes(of_squares)) - sum * average;
            const double apart = static_cast<double>(middle) + average - mean;
            const double share = pixels / (before + pixels);
            mean += apart * share;
            squares += (rest < 0 ? 0 : rest) + apart * apart * before * share;
        }
        float* const to = job_.partial + (n_ * job_.partial_rows + y) * 2 * job_.out_channels + k_;
        to[0] = static_cast<float>(mean);
        to[job_.out_channels] = static_cast<float>(squares);
    }

    const ConvJob& job_;
    const genfuse_epilogue& epilogue_;
    const int64_t n_, k_;
    float* const residual_;
    float* even_ = nullptr;  // the row before, to be pooled
    float offset_ = 0;
};

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
