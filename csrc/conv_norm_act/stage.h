// The prologue: input rows, normalised, activated and masked, as the convolution reads them. Each pixel is
// activated once, whatever the number of taps that read it; the border is put around it afterwards.
#pragma once

#include "common/activation.h"
#include "common/runs.h"
#include "conv_norm_act/dropout.h"
#include "conv_norm_act/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Channels [c, c + lanes) of a source row's pixels, x's and then skip's.
template <class Stored>
void load_channels(const genfuse_conv_norm_act_args& args, int64_t n, int64_t c, int lanes, int64_t y,
                   float* to) {
    const int64_t own = args.x.channels;
    if (c + lanes <= own) {
        load_run<Stored>(args.x, n, c, lanes, y, 0, args.width, to);
    } else if (c >= own) {
        load_run<Stored>(args.skip, n, c - own, lanes, y, 0, args.width, to);
    } else {  // x ends within the block
        float first[kBlockLanes], second[kBlockLanes];
        const int from_x = static_cast<int>(own - c);
        for (int64_t i = 0; i < args.width; ++i) {
            load_run<Stored>(args.x, n, c, from_x, y, i, 1, first);
            load_run<Stored>(args.skip, n, 0, lanes - from_x, y, i, 1, second);
            for (int lane = 0; lane < kBlockLanes; ++lane) {
                to[i * kBlockLanes + lane] = lane < from_x ? first[lane] : second[lane - from_x];
            }
        }
    }
}

// In place: the norm's affine map, of each pixel first where it has one.
inline void normalise(const ConvJob& job, int64_t n, int64_t c, int lanes, int64_t y, float* pixels) {
    const int64_t width = job.args->width;
    if (job.pixel_scale) {
        const int64_t row = (n * job.args->height + y) * width;
        for (int64_t i = 0; i < width; ++i) {
            const f32 scale = broadcast<f32>(job.pixel_scale[row + i]);
            const f32 offset = broadcast<f32>(job.pixel_offset[row + i]);
            for (int part = 0; part < kParts; ++part) {
                float* const at = pixels + i * kBlockLanes + part * kLanes<float>;
                store(at, fma(load<f32>(at), scale, offset));
            }
        }
    }
    if (!job.scale) return;
    float scale[kBlockLanes] = {}, offset[kBlockLanes] = {};
    for (int lane = 0; lane < lanes; ++lane) {
        scale[lane] = job.scale[n * job.in_channels + c + lane];
        offset[lane] = job.offset[n * job.in_channels + c + lane];
    }
    for (int part = 0; part < kParts; ++part) {
        const f32 scales = load<f32>(scale + part * kLanes<float>);
        const f32 offsets = load<f32>(offset + part * kLanes<float>);
        for (int64_t i = 0; i < width; ++i) {
            float* const at = pixels + i * kBlockLanes + part * kLanes<float>;
            store(at, fma(load<f32>(at), scales, offsets));
        }
    }
}

// Channels [c, c + lanes) of a sample, a source row at a time, as the convolution reads them.
template <class Stored>
class Reader {
  public:
    Reader(const ConvJob& job, int64_t n, int64_t c, int lanes)
        : job_(job), n_(n), c_(c), lanes_(lanes), dropout_(job, n, c) {}

    void row(int64_t y, float* pixels) const {
        const genfuse_conv_norm_act_args& args = *job_.args;
        load_channels<Stored>(args, n_, c_, lanes_, y, pixels);
        normalise(job_, n_, c_, lanes_, y, pixels);
        activate(args.prologue.activation, args.prologue.slope, pixels, args.width * kBlockLanes);
        dropout_.apply(y, pixels);
    }

  private:
    const ConvJob& job_;
    const int64_t n_, c_;
    const int lanes_;
    const Dropout dropout_;
};

inline void copy_pixel(const float* from, float* to) {
    __builtin_memcpy(to, from, kBlockLanes * sizeof(float));
}

// Channels [c, c + lanes) of sample n, logical rows [row, row + rows) from the geometry's first on, all
// logical columns: to[(row·columns + column)·16 + lane]. `source` is room for a row of the image.
template <class Stored>
void stage(const ConvJob& job, int64_t n, int64_t c, int lanes, int64_t row, int64_t rows, float* source,
           float* to) {
    const Geometry& geometry = *job.geometry;
    const int64_t columns = static_cast<int64_t>(geometry.columns.size());
    const Reader<Stored> reader(job, n, c, lanes);
    const int64_t left = -geometry.first_column;  // where source column 0 goes, without upsampling
    const int64_t width = job.args->width;
    for (int64_t r = 0; r < rows; ++r) {
        float* const line = to + r * columns * kBlockLanes;
        const int32_t y = geometry.rows[static_cast<size_t>(row + r)];
        if (y < 0) {
            __builtin_memset(line, 0, static_cast<size_t>(columns * kBlockLanes) * sizeof(float));
            continue;
        }
        if (r > 0 && y == geometry.rows[static_cast<size_t>(row + r - 1)]) {  // upsampled
            __builtin_memcpy(line, line - columns * kBlockLanes,
                             static_cast<size_t>(columns * kBlockLanes) * sizeof(float));
            continue;
        }
        // Where the row fits, it is worked on where it stays.
        const bool in_place = geometry.upsample[1] == 1 && left >= 0 && left + width <= columns;
        float* const pixels = in_place ? line + left * kBlockLanes : source;
        reader.row(y, pixels);
        for (int64_t column = 0; column < columns; ++column) {
            if (in_place && column == left && width > 0) column += width;
            if (column >= columns) break;
            const int32_t x = geometry.columns[static_cast<size_t>(column)];
            if (x < 0) {
                __builtin_memset(line + column * kBlockLanes, 0, kBlockLanes * sizeof(float));
            } else {
                copy_pixel(pixels + x * kBlockLanes, line + column * kBlockLanes);
            }
        }
    }
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
