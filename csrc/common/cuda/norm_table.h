// What a norm comes to: mean, rstd, scale and offset of each channel, or of each pixel the first two
// (conv_norm_act/norm_table.py). x − mean is formed first, so that a large mean cancels nothing.
#pragma once

#include "common/cuda/fused.h"
#include "common/cuda/tile.h"

namespace genfuse {

// `channels` (N, table_channels, 4) null: nothing is normalised; `pixels` (N, H·W, 2) null: no pixel is. The
// image's channels are the table's from `first_channel` on.
struct TableArguments {
    const float* channels;
    const float* pixels;
    int64 table_channels, first_channel;
};

// A thread's rows of the table; where its channels do not exist nothing is read.
template <int Channels>
struct TableRows {
    float mean[Channels] = {}, rstd[Channels] = {}, scale[Channels] = {}, offset[Channels] = {};

    __device__ TableRows(const TableArguments& table, int64 sample, int64 channel, bool exists) {
        if (!table.channels || !exists) return;
        const float* const row =
            table.channels + 4 * (sample * table.table_channels + table.first_channel + channel);
#pragma unroll
        for (int c = 0; c < Channels; ++c) {
            const Packed<float, 4> of_channel = load_packed<float, 4>(row + 4 * c);
            mean[c] = of_channel.element[0];
            rstd[c] = of_channel.element[1];
            scale[c] = of_channel.element[2];
            offset[c] = of_channel.element[3];
        }
    }
};

// Mean and rstd of an access's pixels, those from `first` on; `table` null: nothing is read.
template <class Of>
struct PixelRows {
    Packed<float, 2> row[Of::positions] = {};

    __device__ PixelRows(const float* table, int64 first) {
        if (!table) return;
#pragma unroll
        for (int p = 0; p < Of::positions; ++p) row[p] = load_packed<float, 2>(table + 2 * (first + p));
    }
    __device__ float mean(int element) const { return row[Of::positions == 1 ? 0 : element].element[0]; }
    __device__ float rstd(int element) const { return row[Of::positions == 1 ? 0 : element].element[1]; }
};

// The norm's result, in the place of x.
template <class Of>
class Normaliser {
    const bool normalises_;
    const float* const pixels_;  // of the sample
    float mean_[Of::channels], factor_[Of::channels], offset_[Of::channels];

  public:
    __device__ Normaliser(const TableArguments& table, int64 sample, int64 channel, bool exists,
                          int64 positions)
        : normalises_(table.channels != nullptr),
          pixels_(table.pixels ? table.pixels + 2 * sample * positions : nullptr) {
        const TableRows<Of::channels> rows(table, sample, channel, exists);
#pragma unroll
        for (int c = 0; c < Of::channels; ++c) {
            mean_[c] = rows.mean[c];
            factor_[c] = rows.rstd[c] * rows.scale[c];  // of a pixel's norm rstd is 1 here
            offset_[c] = rows.offset[c];
        }
    }

    // Of an access at `position`.
    __device__ void normalise(int64 position, float (&value)[Of::numel]) const {
        if (!normalises_) return;
        if (pixels_) {
            const PixelRows<Of> pixel(pixels_, position);
#pragma unroll
            for (int j = 0; j < Of::numel; ++j) value[j] = (value[j] - pixel.mean(j)) * pixel.rstd(j);
        }
#pragma unroll
        for (int j = 0; j < Of::numel; ++j) {
            const int c = Of::channels == 1 ? 0 : j;  // of a pixel's norm mean is 0 here
            value[j] = fused(value[j] - mean_[c], factor_[c], offset_[c]);
        }
    }
};

}  // namespace genfuse
