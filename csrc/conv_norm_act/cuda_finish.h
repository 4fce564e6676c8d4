// What follows the sums: bias, shift, residual, scale, activation, the store, and the block's share of the
// next norm's statistics.
#pragma once

#include "common/cuda/activation.h"
#include "common/cuda/store16.h"
#include "conv_norm_act/cuda_made.h"

namespace genfuse {

// value[j] += from[j], for `count` of them; all, 16 bytes at a time, where `chunked`.
template <bool chunked, class Element, int Count>
__device__ void add_elements(const Element* from, int count, float (&value)[Count]) {
    if constexpr (chunked) {
        constexpr int kEach = 16 / sizeof(Element);
#pragma unroll
        for (int i = 0; i < Count; i += kEach) {
            const Chunk<Element> chunk = *reinterpret_cast<const Chunk<Element>*>(from + i);
#pragma unroll
            for (int j = 0; j < kEach; ++j) value[i + j] += widen(chunk.element[j]);
        }
    } else {
#pragma unroll
        for (int j = 0; j < Count; ++j) {
            if (j < count) value[j] += widen(from[j]);
        }
    }
}

// Likewise of a vector's numbers from `channel` on.
template <class Stored, bool chunked, int Count>
__device__ void add_vector(const ConvVector& vector, int64 sample, int channel, int count,
                           float (&value)[Count]) {
    if (!vector.data) return;
    const int64 place = sample * vector.batch + channel;
    if (vector.is_float) {
        add_elements<chunked>(static_cast<const float*>(vector.data) + place, count, value);
    } else {
        add_elements<chunked>(static_cast<const Stored*>(vector.data) + place, count, value);
    }
}

template <class Stored, Order order, class Index, class Tile>
class Finish {
    using Word = Chunk<Stored>;
    static constexpr int kEach = Tile::kEach, kRow = Tile::kOutputs / kEach;  // chunks of a pixel

    const ConvArguments& of_;
    const ConvBlock& block_;
    const MadePixels<Stored, order, Index> made_;
    float* const sums_;

  public:
    __device__ Finish(const ConvArguments& of, const ConvBlock& block, float* sums)
        : of_(of), block_(block), made_(of, block), sums_(sums) {}

    __device__ void run() const {
        for (int i = static_cast<int>(threadIdx.x); i < Tile::kPixels * kRow; i += Tile::kThreads) {
            if constexpr (order == kChannelsLast) {
                write(i / kRow, i % kRow);
            } else {
                write(i % Tile::kPixels, i / Tile::kPixels);
            }
        }
        if (!of_.moments) return;
        __syncthreads();
        store_moments();
    }

  private:
    __device__ void write(int number, int word) const {
        const ConvPixel pixel(of_, number);
        const int k = block_.output + word * kEach, outputs = static_cast<int>(of_.outputs);
        if (!made_.exists(pixel) || k >= outputs) return;
        const int channel = block_.group * outputs + k;
        const int count = order == kChannelsLast ? kEach : min(kEach, outputs - k);
        float* const sums = sums_ + number * Tile::kSumsRow + word * kEach;
        float value[kEach];
        Word residual = {};
        if (of_.residual.data) residual = read(made_.address(of_.residual, pixel, channel), count);
#pragma unroll
        for (int j = 0; j < kEach; ++j) value[j] = sums[j] + widen(residual.element[j]);
        add_vector<Stored, order == kChannelsLast>(of_.bias, 0, channel, count, value);
        add_vector<Stored, order == kChannelsLast>(of_.shift, block_.sample + pixel.sample, channel, count,
                                                   value);
#pragma unroll
        for (int j = 0; j < kEach; ++j) value[j] *= static_cast<float>(of_.scale);
        activate(static_cast<int>(of_.out_activation), static_cast<float>(of_.slope), value);
        Word result;
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            narrow(value[j], &result.element[j]);
            if (of_.moments) sums[j] = value[j];
        }
        Stored* const to = made_.address(of_.out, pixel, channel);
        if constexpr (order == kChannelsLast) {
            uint32 part[4];
            memcpy(part, &result, sizeof(part));
            store16(to, part);
        } else {
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                if (j < count)
                    to[static_cast<Index>(j) * static_cast<Index>(of_.out.channel)] = result.element[j];
            }
        }
    }

    __device__ Word read(const Stored* from, int count) const {
        if constexpr (order == kChannelsLast) return *reinterpret_cast<const Word*>(from);
        Word word = {};
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            if (j < count) {
                word.element[j] = from[static_cast<Index>(j) * static_cast<Index>(of_.residual.channel)];
            }
        }
        return word;
    }

    // A thread an output and a share of the pixels, which is part of a sample, or several samples whole.
    __device__ void store_moments() const {
        constexpr int kShare = Tile::kPixels * Tile::kOutputs / Tile::kThreads;
        const int k = static_cast<int>(threadIdx.x) % Tile::kOutputs,
                  share = static_cast<int>(threadIdx.x) / Tile::kOutputs * kShare;
        if (block_.output + k >= of_.outputs) return;
        const int pixels = 1 << (of_.rows.tile + of_.columns.tile), piece = min(kShare, pixels);
        for (int first = share; first < share + kShare; first += piece) {
            const int sample = first / pixels;
            if (sample >= of_.samples || block_.sample + sample >= of_.batch) return;
            store_moments(k, first, piece, block_.sample + sample,
                          (block_.row * of_.columns.tiles + block_.column) * (pixels / piece) +
                              (first - sample * pixels) / piece);
        }
    }

    // Of `count` pixels of a sample from `first` on, about their mean, corrected by the deviations' sum
    // (Chan, Golub & LeVeque 1983). What parts add up to is merged by another kernel, in order.
    __device__ void store_moments(int k, int first, int pixels, int64 sample, int64 part) const {
        const float* const column = sums_ + k;
        int count = 0;
        float sum = 0, off = 0, squares = 0;
        each_made(first, pixels, [&](int number) {
            ++count;
            sum += column[number * Tile::kSumsRow];
        });
        const float mean = count > 0 ? sum / static_cast<float>(count) : 0;
        each_made(first, pixels, [&](int number) {
            const float apart = column[number * Tile::kSumsRow] - mean;
            off += apart;
            squares = fused(apart, apart, squares);
        });
        const float share = count > 0 ? off / static_cast<float>(count) : 0;
        squares = fused(-off, share, squares);
        const int64 rows = of_.batch * of_.all_outputs;
        double* const to = of_.moments + (of_.first_part + part) * rows + sample * of_.all_outputs +
                           block_.group * of_.outputs + block_.output + k;
        to[0] = count;
        to[of_.parts * rows] = static_cast<double>(mean) + static_cast<double>(share);
        to[2 * of_.parts * rows] = squares < 0 ? 0 : static_cast<double>(squares);
    }

    // use(number) for those of `pixels` from `first` on that are made.
    template <class Use>
    __device__ void each_made(int first, int pixels, Use use) const {
        for (int number = first; number < first + pixels; ++number) {
            if (made_.exists(ConvPixel(of_, number))) use(number);
        }
    }
};

}  // namespace genfuse
