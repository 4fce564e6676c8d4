// The epilogue: what happens to a run of convolved pixels on its way to memory.
#pragma once

#include "common/activation.h"
#include "common/runs.h"
#include "conv_norm_act/job.h"
#include "conv_norm_act/projection.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Mean and squared deviations of 16 channels over more and more pixels: pieces of a few pixels about their
// own first one, so that a large mean cancels nothing, merged in double (Chan, Golub & LeVeque 1979), so that
// a row may be as long as a sequence.
class RowMoments {
  public:
    static constexpr int64_t kPiece = 64;  // pixels

    // A few channels' sums of a piece while they are in registers.
    struct Part {
        f32 base, sum, squares;

        GENFUSE_INLINE void add(f32 value) {
            const f32 deviation = value - base;
            sum += deviation;
            squares = fma(deviation, deviation, squares);
        }
    };

    bool empty() const { return piece_ + count_ == 0; }

    // Calls run(first pixel, count) for pixels that are added together, each time before count().
    template <class Run>
    GENFUSE_INLINE static void pieces(int64_t count, Run run) {
        for (int64_t i = 0; i < count; i += kPiece) run(i, count - i < kPiece ? count - i : kPiece);
    }

    // Of the piece that is being added to. A new one is taken about the middle value of three of its pixels,
    // which no single one far off can be.
    Part part(int lane, f32 a, f32 b, f32 c) const {
        if (piece_ == 0) return {larger(smaller(a, b), smaller(larger(a, b), c)), f32{}, f32{}};
        return {load<f32>(base_ + lane), load<f32>(sum_ + lane), load<f32>(squares_ + lane)};
    }

    void keep(int lane, const Part& part) {
        store(base_ + lane, part.base);
        store(sum_ + lane, part.sum);
        store(squares_ + lane, part.squares);
    }

    void count(int64_t pixels) {
        piece_ += pixels;
        if (piece_ >= kPiece) merge();
    }

    void add(const float* pixels, int64_t pixel_count) {
        pieces(pixel_count, [&](int64_t begin, int64_t some) {
            const float* const from = pixels + begin * kBlockLanes;
            for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
                const auto pixel = [&](int64_t i) { return load<f32>(from + i * kBlockLanes + lane); };
                Part sums = part(lane, pixel(0), pixel(some / 2), pixel(some - 1));
                for (int64_t i = 0; i < some; ++i) sums.add(pixel(i));
                keep(lane, sums);
            }
            count(some);
        });
    }

    // Mean and sum of squared deviations; at least one pixel was added.
    void write(double* mean, double* squares) {
        if (piece_ > 0) merge();
        __builtin_memcpy(mean, mean_, sizeof mean_);
        __builtin_memcpy(squares, all_squares_, sizeof all_squares_);
    }

  private:
    void merge() {
        const double pixels = static_cast<double>(piece_), before = static_cast<double>(count_);
        const double part = 1 / pixels, share = pixels / (before + pixels), weight = before * share;
        for (int lane = 0; lane < kBlockLanes; ++lane) {
            const double sum = static_cast<double>(sum_[lane]), average = sum * part;
            const double apart = static_cast<double>(base_[lane]) + average - mean_[lane];
            const double rest = static_cast<double>(squares_[lane]) - sum * average;
            mean_[lane] += apart * share;
            all_squares_[lane] += (rest < 0 ? 0 : rest) + apart * apart * weight;
        }
        count_ += piece_;
        piece_ = 0;
    }

    float base_[kBlockLanes], sum_[kBlockLanes], squares_[kBlockLanes];
    double mean_[kBlockLanes] = {}, all_squares_[kBlockLanes] = {};
    int64_t piece_ = 0, count_ = 0;
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
    void keep(RowMoments& moments, int64_t index) const {
        double mean[kBlockLanes], squares[kBlockLanes];
        moments.write(mean, squares);
        float* const to = job_.partial + (n_ * job_.partial_rows + index) * 2 * job_.out_channels + k_;
        for (int lane = 0; lane < lanes_; ++lane) {
            to[lane] = static_cast<float>(mean[lane]);
            to[job_.out_channels + lane] = static_cast<float>(squares[lane]);
        }
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
        const auto some = [&](int64_t begin, int64_t end) {
            for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
                const f32 offset = load<f32>(offset_ + lane);
                const auto value = [&](int64_t i) {
                    const f32 sum = load<f32>(sums + i * kBlockLanes + lane) + offset;
                    return (has_residual ? sum + load<f32>(residual_ + i * kBlockLanes + lane) : sum) * scale;
                };
                RowMoments::Part part =
                    with_moments ? moments->part(lane, value(begin), value((begin + end) / 2), value(end - 1))
                                 : RowMoments::Part{};
                for (int64_t i = begin; i < end; ++i) {
                    const f32 result = value(i);
                    if (with_moments) part.add(result);
                    put(i, lane, result);
                }
                if (with_moments) moments->keep(lane, part);
            }
        };
        if (!with_moments) return some(0, count);
        RowMoments::pieces(count, [&](int64_t begin, int64_t pixels) {
            some(begin, begin + pixels);
            moments->count(pixels);
        });
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
