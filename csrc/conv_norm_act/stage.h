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

// Channels [c, c + lanes) of a source row's pixels, `lanes` floats a pixel; a vector more may be written.
template <class Stored>
void load_tight_channels(const genfuse_conv_norm_act_args& args, int64_t n, int64_t c, int lanes, int64_t y,
                         float* to) {
    const int64_t own = args.x.channels - c;
    const int from_x = static_cast<int>(own < 0 ? 0 : own < lanes ? own : lanes);
    if (from_x > 0) load_tight<Stored>(args.x, n, c, from_x, y, args.width, lanes, to);
    if (from_x < lanes) {
        load_tight<Stored>(args.skip, n, c + from_x - args.x.channels, lanes - from_x, y, args.width, lanes,
                           to + from_x);
    }
}

// In place, `pitch` floats a pixel: the norm's affine map, of each pixel first where it has one. A vector
// more may be written.
inline void normalise(const ConvJob& job, int64_t n, int64_t c, int lanes, int pitch, int64_t y,
                      float* pixels) {
    constexpr int vector = kLanes<float>;
    const int64_t width = job.args->width;
    if (job.pixel_scale) {
        const int64_t row = (n * job.args->height + y) * width;
        for (int64_t i = 0; i < width; ++i) {
            const f32 scale = broadcast<f32>(job.pixel_scale[row + i]);
            const f32 offset = broadcast<f32>(job.pixel_offset[row + i]);
            for (int lane = 0; lane < pitch; lane += vector) {
                float* const at = pixels + i * pitch + lane;
                narrow_part(at, fma(widen_part(at, pitch - lane), scale, offset), pitch - lane);
            }
        }
    }
    if (!job.scale) return;
    const int period = pitch == kBlockLanes ? kParts : pitch;  // vectors after which the channels repeat
    float scale[kBlockLanes * vector], offset[kBlockLanes * vector];
    for (int i = 0; i < period * vector; ++i) {
        const bool there = i % pitch < lanes;
        scale[i] = there ? job.scale[n * job.in_channels + c + i % pitch] : 0.0f;
        offset[i] = there ? job.offset[n * job.in_channels + c + i % pitch] : 0.0f;
    }
    for (int part = 0; part < period; ++part) {
        const f32 scales = load<f32>(scale + part * vector), offsets = load<f32>(offset + part * vector);
        for (int64_t i = part * vector; i < width * pitch; i += period * vector) {
            store(pixels + i, fma(load<f32>(pixels + i), scales, offsets));
        }
    }
}

// Channels [c, c + lanes) of a sample, a source row at a time, as the convolution reads them; `pitch` floats
// a pixel, 16 where there is dropout.
template <class Stored>
class Reader {
  public:
    Reader(const ConvJob& job, int64_t n, int64_t c, int lanes, int pitch = kBlockLanes)
        : job_(job), n_(n), c_(c), lanes_(lanes), pitch_(pitch), dropout_(job, n, c) {}

    void row(int64_t y, float* pixels) const {
        const genfuse_conv_norm_act_args& args = *job_.args;
        if (pitch_ == kBlockLanes) {
            load_channels<Stored>(args, n_, c_, lanes_, y, pixels);
        } else {
            load_tight_channels<Stored>(args, n_, c_, lanes_, y, pixels);
        }
        normalise(job_, n_, c_, lanes_, pitch_, y, pixels);
        activate(args.prologue.activation, args.prologue.slope, pixels, args.width * pitch_);
        dropout_.apply(y, pixels);
    }

  private:
    const ConvJob& job_;
    const int64_t n_, c_;
    const int lanes_, pitch_;
    const Dropout dropout_;
};

// Channels [c, c + lanes) of sample n, logical rows [row, row + rows) from the geometry's first on, all
// logical columns: to[(row·columns + column)·pitch + lane], a vector more may be written. `pitch` is 16, or
// `lanes` where pixels shall leave no room between them. `source` is room for a row of the image.
template <class Stored>
void stage_pixels(const ConvJob& job, int64_t n, int64_t c, int lanes, int pitch, int64_t row, int64_t rows,
                  float* source, float* to) {
    const Geometry& geometry = *job.geometry;
    const int64_t columns = static_cast<int64_t>(geometry.columns.size());
    const Reader<Stored> reader(job, n, c, lanes, pitch);
    const int64_t left = -geometry.first_column;  // where source column 0 goes, without upsampling
    const int64_t width = job.args->width;
    const size_t pixel_bytes = static_cast<size_t>(pitch) * sizeof(float);
    const size_t line_bytes = static_cast<size_t>(columns) * pixel_bytes;
    for (int64_t r = 0; r < rows; ++r) {
        float* const line = to + r * columns * pitch;
        const int32_t y = geometry.rows[static_cast<size_t>(row + r)];
        if (y < 0) {
            __builtin_memset(line, 0, line_bytes);
            continue;
        }
        if (r > 0 && y == geometry.rows[static_cast<size_t>(row + r - 1)]) {  // upsampled
            __builtin_memcpy(line, line - columns * pitch, line_bytes);
            continue;
        }
        // Where the row fits, it is worked on where it stays.
        const bool in_place = geometry.upsample[1] == 1 && left >= 0 && left + width <= columns;
        float* const pixels = in_place ? line + left * pitch : source;
        reader.row(y, pixels);
        for (int64_t column = 0; column < columns; ++column) {
            if (in_place && column == left && width > 0) column += width;
            if (column >= columns) break;
            const int32_t x = geometry.columns[static_cast<size_t>(column)];
            float* const at = line + column * pitch;
            if (x < 0) {
                __builtin_memset(at, 0, pixel_bytes);
            } else if (pitch == kBlockLanes) {
                __builtin_memcpy(at, pixels + x * kBlockLanes, kBlockLanes * sizeof(float));
            } else {
                for (int lane = 0; lane < pitch; ++lane) at[lane] = pixels[x * pitch + lane];
            }
        }
    }
}

// As above, 16 floats a pixel; nothing more is written.
template <class Stored>
void stage(const ConvJob& job, int64_t n, int64_t c, int lanes, int64_t row, int64_t rows, float* source,
           float* to) {
    stage_pixels<Stored>(job, n, c, lanes, kBlockLanes, row, rows, source, to);
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
