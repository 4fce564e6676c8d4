// What follows the sums of a data gradient: the activation's derivative and the norm's factors, the store,
// and the block's share of the norm's sums over space; the mathematics are in
// kernels/genfuse_kernels/conv_norm_act/norm_gradient.py.
#pragma once

#include "common/cuda/activation.h"
#include "common/cuda/lanes.h"
#include "common/cuda/store16.h"
#include "conv_norm_act/cuda_made.h"

namespace genfuse {

template <class Stored, Order order, class Index, class Tile>
class GradientFinish {
    using Word = Chunk<Stored>;
    static constexpr int kEach = Tile::kEach, kRow = Tile::kOutputs / kEach;  // chunks of a pixel

    const ConvArguments& of_;
    const ConvRead& read_;
    const ConvBlock& block_;
    const MadePixels<Stored, order, Index> made_;
    float* const sums_;
    double* const room_;  // behind the sums where several samples still have to be read
    // A thread's channels are the same of each of its pixels.
    const int first_, channel_, count_;
    float plain_[kEach] = {}, weighted_[kEach] = {};

  public:
    __device__ GradientFinish(const DataGradientArguments& arguments, const ConvBlock& block, float* sums)
        : of_(arguments.of),
          read_(arguments.read),
          block_(block),
          made_(arguments.of, block),
          sums_(sums),
          room_(reinterpret_cast<double*>(of_.samples > 1 ? sums + Tile::kPixels * Tile::kSumsRow : sums)),
          first_(static_cast<int>(threadIdx.x) % kRow * kEach),
          channel_(block.group * static_cast<int>(of_.outputs) + block.output + first_),
          count_(min(kEach, static_cast<int>(of_.outputs) - block.output - first_)) {}

    __device__ void run() {
        const int pixels = 1 << (of_.rows.tile + of_.columns.tile);
        for (int sample = 0; sample < of_.samples && block_.sample + sample < of_.batch; ++sample) {
            for (int i = static_cast<int>(threadIdx.x) / kRow; i < pixels && count_ > 0;
                 i += Tile::kThreads / kRow) {
                const int number = sample * pixels + i;
                const ConvPixel pixel(of_, number);
                if (made_.exists(pixel)) write(number, pixel);
            }
            if (!read_.sums) continue;
            store_sums(plain_, sample, 0);
            store_sums(weighted_, sample, 1);
        }
    }

  private:
    __device__ void write(int number, const ConvPixel& pixel) {
        const Word x = read(pixel);
        const auto* const norm = static_cast<const Chunk<float>*>(read_.norm);
        const int64 row = (block_.sample + pixel.sample) * of_.all_outputs + channel_;
        const float* const sums = sums_ + number * Tile::kSumsRow + first_;
        float standardised[kEach], factor[kEach], result[kEach], gradient[kEach];
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            gradient[j] = sums[j];
            standardised[j] = result[j] = widen(x.element[j]);
            factor[j] = 1;
            if (norm && has(j)) {
                const Chunk<float> n = norm[row + j];
                standardised[j] = (standardised[j] - n.element[0]) * n.element[1];
                result[j] = fused(standardised[j], n.element[2], n.element[3]);
                factor[j] = n.element[2] * n.element[1];
            }
        }
        differentiate(static_cast<int>(read_.activation), static_cast<float>(of_.slope), result, gradient);
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            plain_[j] += gradient[j];
            weighted_[j] = fused(gradient[j], standardised[j], weighted_[j]);
            gradient[j] = read_.ends ? gradient[j] * factor[j] : sums[j];
        }
        store(gradient, made_.address(of_.out, pixel, channel_));
    }

    __device__ bool has(int j) const { return order == kChannelsLast || j < count_; }

    __device__ const Stored* address(const ConvPixel& pixel, int channel) const {
        const bool first = channel < read_.x_channels;
        return made_.address(first ? read_.x : read_.skip, pixel,
                             first ? channel : channel - static_cast<int>(read_.x_channels));
    }

    __device__ Word read(const ConvPixel& pixel) const {
        if constexpr (order == kChannelsLast) {
            return *reinterpret_cast<const Word*>(address(pixel, channel_));
        } else {
            Word word = {};
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                if (j < count_) word.element[j] = *address(pixel, channel_ + j);
            }
            return word;
        }
    }

    __device__ void store(const float (&value)[kEach], Stored* to) const {
        Word word;
#pragma unroll
        for (int j = 0; j < kEach; ++j) narrow(value[j], &word.element[j]);
        if constexpr (order == kChannelsLast) {
            uint32 part[4];
            memcpy(part, &word, sizeof(part));
            store16(to, part);
        } else {
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                if (j < count_)
                    to[static_cast<Index>(j) * static_cast<Index>(of_.out.channel)] = word.element[j];
            }
        }
    }

    // Over a sample's pixels, in double beyond a thread's, which begins with 0 again; called by all threads.
    __device__ void store_sums(float (&of_thread)[kEach], int sample, int which) {
        const int thread = static_cast<int>(threadIdx.x);
        const Lanes lanes{Tile::kThreads / kRow, kRow, thread / kRow};
        double value[kEach];
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            value[j] = static_cast<double>(of_thread[j]);
            of_thread[j] = 0;
        }
        lane_sums<Tile::kThreads>(lanes, room_, value);
        if (lanes.own > 0) return;
        const int64 part =
            which * read_.parts + read_.first_part + block_.row * of_.columns.tiles + block_.column;
        double* const to =
            read_.sums + (part * of_.batch + block_.sample + sample) * of_.all_outputs + channel_;
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            if (j < count_) to[j] = value[j];
        }
    }
};

}  // namespace genfuse
