// The pixels that a block makes, and their elements in images of what is made.
#pragma once

#include "conv_norm_act/cuda_tile.h"

namespace genfuse {

template <class Stored, Order order, class Index>
class MadePixels {
    const ConvArguments& of_;
    const ConvBlock& block_;

  public:
    __device__ MadePixels(const ConvArguments& of, const ConvBlock& block) : of_(of), block_(block) {}

    __device__ bool exists(const ConvPixel& pixel) const {
        return pixel.sample < of_.samples && block_.sample + pixel.sample < of_.batch &&
               row(pixel) < of_.rows.made && column(pixel) < of_.columns.made;
    }

    // Of a pixel that exists.
    __device__ Stored* address(const ConvImage& image, const ConvPixel& pixel, int channel) const {
        const Index at_row = static_cast<Index>(of_.rows.phase) +
                             static_cast<Index>(row(pixel)) * static_cast<Index>(of_.rows.phase_step);
        const Index at_column =
            static_cast<Index>(of_.columns.phase) +
            static_cast<Index>(column(pixel)) * static_cast<Index>(of_.columns.phase_step);
        return static_cast<Stored*>(image.data) + (block_.sample + pixel.sample) * image.batch +
               (at_row * static_cast<Index>(image.row) + at_column * static_cast<Index>(image.column) +
                static_cast<Index>(channel) * static_cast<Index>(order == kChannelsLast ? 1 : image.channel));
    }

  private:
    __device__ int row(const ConvPixel& pixel) const { return (block_.row << of_.rows.tile) + pixel.row; }
    __device__ int column(const ConvPixel& pixel) const {
        return (block_.column << of_.columns.tile) + pixel.column;
    }
};

}  // namespace genfuse
