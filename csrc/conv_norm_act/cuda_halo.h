// The block's input tile with its border, in shared memory: each pixel is read, normalised and activated
// once, and all taps read it there.
#pragma once

#include "common/cuda/activation.h"
#include "common/cuda/async_copy.h"
#include "conv_norm_act/cuda_tile.h"

namespace genfuse {

// Where a pixel of the tile comes from; `row` < 0: the border of zeros.
struct HaloPixel {
    int row, column;
};

// Pixels of a row of the tile in shared memory, of which the last may be none.
__device__ inline int halo_width(const ConvSource& source) {
    return static_cast<int>(source.columns.beside) << source.columns.spread;
}

__device__ inline int halo_pixels(const ConvSource& source) {
    return static_cast<int>(source.rows.halo) * halo_width(source);
}

// Where a row of the tile has its pixel number `column`.
__device__ inline int place_in_row(const ConvAxis& columns, int column) {
    const int first = column & ((1 << columns.spread) - 1);
    return first * static_cast<int>(columns.beside) + (column >> columns.spread);
}

// Where a source's tile has what a pixel of the block reads with tap 0.
__device__ inline int place_of(const ConvSource& source, const ConvPixel& pixel) {
    const int row =
        pixel.row * static_cast<int>(source.rows.stride) + static_cast<int>(source.rows.tap_first);
    return pixel.sample * halo_pixels(source) + row * halo_width(source) +
           pixel.column * static_cast<int>(source.columns.stride >> source.columns.spread) +
           place_in_row(source.columns, static_cast<int>(source.columns.tap_first));
}

// How far beyond it what it reads with another tap is.
__device__ inline int shift_of(const ConvSource& source, int row, int column) {
    const int first = static_cast<int>(source.columns.tap_first);
    return row * static_cast<int>(source.rows.tap_step) * halo_width(source) +
           place_in_row(source.columns, first + column * static_cast<int>(source.columns.tap_step)) -
           place_in_row(source.columns, first);
}

// In kChannelsLast pixels are copied in chunks of 16 bytes, in kPlanes element by element, any strides. A
// thread has a chunk of channels of its own, and activates what it copied.
template <class Stored, Order order, class Index, class Tile>
class Halo {
    using Word = Chunk<Stored>;
    static constexpr int kEach = Tile::kEach, kStride = Tile::kThreads / Tile::kWords;

    const ConvArguments& of_;
    const ConvSource& source_;
    const ConvBlock& block_;
    HaloPixel* const pixels_;
    Word* const ring_;
    const int count_;  // pixels of a sample
    const int word_, first_;

  public:
    __device__ Halo(const ConvArguments& of, const ConvSource& source, const ConvBlock& block,
                    HaloPixel* pixels, Word* ring)
        : of_(of),
          source_(source),
          block_(block),
          pixels_(pixels),
          ring_(ring),
          count_(halo_pixels(source)),
          word_(static_cast<int>(threadIdx.x) % (order == kChannelsLast ? Tile::kWords : Tile::kThreads) /
                (order == kChannelsLast ? 1 : kStride)),
          first_(order == kChannelsLast ? static_cast<int>(threadIdx.x) / Tile::kWords
                                        : static_cast<int>(threadIdx.x) % kStride) {}

    // Fills the table of where pixels come from, behind a barrier for all.
    __device__ void find() const {
        const int width = halo_width(source_), beside = static_cast<int>(source_.columns.beside);
        for (int i = static_cast<int>(threadIdx.x); i < count_; i += Tile::kThreads) {
            const int row = i / width, place = i - row * width, first = place / beside;
            const int column = first + ((place - first * beside) << source_.columns.spread);
            HaloPixel pixel{from(source_.rows, block_.row, row),
                            from(source_.columns, block_.column, column)};
            if (pixel.column < 0 || column >= source_.columns.halo) pixel.row = -1;
            pixels_[i] = pixel;
        }
    }

    __device__ const Word* tile(int chunk) const { return ring_ + slot(chunk); }

    // Starts to copy a chunk of channels.
    __device__ void copy(int chunk) const {
        const int c = chunk * Tile::kInputs + word_ * kEach;  // of the group
        const int channel = block_.group * static_cast<int>(source_.group_channels) + c;
        const int inputs = static_cast<int>(source_.inputs);
        visit([&](int sample, int place, const HaloPixel& pixel) {
            Word* const to = ring_ + slot(chunk) + swizzled(place, word_);
            const bool exists = pixel.row >= 0 && block_.sample + sample < of_.batch && c < inputs;
            if constexpr (order == kChannelsLast) {
                copy16(to, exists ? address(sample, pixel, channel) : nullptr, exists);
            } else {
                Word word = {};
#pragma unroll
                for (int j = 0; j < kEach; ++j) {
                    if (exists && c + j < inputs) word.element[j] = *address(sample, pixel, channel + j);
                }
                *to = word;
            }
        });
    }

    // Normalises and activates what the thread copied, once it has arrived. The border stays zeros.
    __device__ void activate(int chunk) const {
        const auto* const norm = static_cast<const Chunk<float>*>(source_.norm);
        const int activation = static_cast<int>(source_.activation);
        if (!norm && activation == GENFUSE_IDENTITY) return;
        const int c = chunk * Tile::kInputs + word_ * kEach;
        if (c >= source_.inputs) return;
        const int channel = block_.group * static_cast<int>(source_.group_channels) + c;
        const float slope = static_cast<float>(of_.slope);
        visit([&](int sample, int place, const HaloPixel& pixel) {
            if (pixel.row < 0 || block_.sample + sample >= of_.batch) return;
            const int64 row = (block_.sample + sample) * source_.channels + channel;
            Stored* const element = ring_[slot(chunk) + swizzled(place, word_)].element;
#pragma unroll 1  // else the values crowd the sums out of the registers
            for (int first = 0; first < kEach; first += 4) {
                float value[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    value[j] = widen(element[first + j]);
                    if (norm && c + first + j < source_.inputs) {
                        const Chunk<float> n = norm[row + first + j];
                        value[j] = fused(value[j] - n.element[0], n.element[1] * n.element[2], n.element[3]);
                    }
                }
                genfuse::activate(activation, slope, value);
#pragma unroll
                for (int j = 0; j < 4; ++j) narrow(value[j], &element[first + j]);
            }
        });
    }

  private:
    __device__ int slot(int chunk) const {
        return chunk % static_cast<int>(source_.ring) * static_cast<int>(of_.samples) * count_ * Tile::kWords;
    }

    // The source's pixel, −1 outside.
    __device__ int from(const ConvAxis& axis, int tile, int pixel) const {
        const int size = static_cast<int>(axis.size * axis.upsample);
        int at = tile * static_cast<int>(axis.step) + static_cast<int>(axis.low) +
                 pixel * static_cast<int>(axis.spacing);
        if (source_.mode == kReflect) {
            at = at < 0 ? -at : at;
            at = at >= size ? 2 * (size - 1) - at : at;
        } else if (source_.mode == kCircular) {
            at = at < 0 ? at + size : at;
            at = at >= size ? at - size : at;
        }
        if (at < 0 || at >= size) return -1;
        return axis.upsample == 2 ? at >> 1 : at;
    }

    __device__ const Stored* address(int sample, const HaloPixel& pixel, int channel) const {
        const bool first = channel < source_.x_channels;
        const ConvImage& image = first ? source_.x : source_.skip;
        const int own = first ? channel : channel - static_cast<int>(source_.x_channels);
        return static_cast<const Stored*>(image.data) + (block_.sample + sample) * image.batch +
               (static_cast<Index>(pixel.row) * static_cast<Index>(image.row) +
                static_cast<Index>(pixel.column) * static_cast<Index>(image.column) +
                static_cast<Index>(own) * static_cast<Index>(order == kChannelsLast ? 1 : image.channel));
    }

    // use(sample, place in the tile, pixel) for each of the thread's.
    template <class Use>
    __device__ void visit(Use use) const {
        for (int sample = 0; sample < of_.samples; ++sample) {
            for (int i = first_; i < count_; i += kStride) use(sample, sample * count_ + i, pixels_[i]);
        }
    }
};

}  // namespace genfuse
