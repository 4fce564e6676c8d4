// Runs of a row's pixels between an image, in any layout and dtype, and dense float32 with 16 channels a
// pixel.
#pragma once

#include "common/half.h"
#include "common/image.h"
#include "common/transpose.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int kBlockLanes = GENFUSE_CHANNEL_BLOCK;
constexpr int kParts = kBlockLanes / kLanes<float>;  // vectors that hold a pixel's 16 channels

// The first element of channel `c` (of its block, in the blocked layout) in row `y` of sample `n`.
template <class Stored>
GENFUSE_INLINE Stored* row_of(const genfuse_image& image, int64_t n, int64_t c, int64_t y) {
    Stored* const sample = static_cast<Stored*>(image.data) + n * image.stride_n + y * image.stride_h;
    if (image.layout == GENFUSE_PLANAR) return sample + c * image.stride_c;
    if (image.layout == GENFUSE_CHANNELS_LAST) return sample + c;
    return sample + c / kBlockLanes * image.stride_c + c % kBlockLanes;
}

// Elements from one pixel of a row to the next.
inline int64_t pixel_stride(const genfuse_image& image) {
    return image.layout == GENFUSE_PLANAR ? 1 : image.stride_w;
}

template <class Stored>
GENFUSE_INLINE float widened(Stored value) {
    Stored one[kLanes<float>] = {value};
    return widen(one)[0];
}

template <class Stored>
GENFUSE_INLINE Stored narrowed(float value) {
    Stored one[kLanes<float>];
    narrow(one, broadcast<f32>(value));
    return one[0];
}

// `count` values that lie `stride` apart.
template <class Stored>
void load_spread(const Stored* from, int64_t stride, int64_t count, float* to) {
    if (stride == 1) {
        widen_run(from, count, to);
        return;
    }
    for (int64_t i = 0; i < count; ++i) to[i] = widened(from[i * stride]);
}

template <class Stored>
void store_spread(const float* from, int64_t count, int64_t stride, Stored* to) {
    if (stride == 1) {
        narrow_run(from, count, to);
        return;
    }
    for (int64_t i = 0; i < count; ++i) to[i * stride] = narrowed<Stored>(from[i]);
}

// Channels [c, c + lanes) of `count` pixels from column x on, into to[pixel·16 + lane]; lanes beyond are
// zeroed. Where the channels lie together:
template <class Stored>
void load_adjacent(const Stored* from, int64_t stride, int64_t count, int lanes, float* to) {
    if (lanes == kBlockLanes) {
        for (int64_t i = 0; i < count; ++i) {
            // The next block of channels is read next: in channels last it lies behind this one.
            __builtin_prefetch(from + i * stride + kBlockLanes);
            __builtin_prefetch(from + (i + 16) * stride);
            for (int part = 0; part < kParts; ++part) {
                store(to + i * kBlockLanes + part * kLanes<float>,
                      widen(from + i * stride + part * kLanes<float>));
            }
        }
        return;
    }
    for (int64_t i = 0; i < count; ++i) {
        for (int first = 0; first < kBlockLanes; first += kLanes<float>) {
            const int there = lanes - first;
            store(to + i * kBlockLanes + first,
                  there > 0 ? widen_part(from + i * stride + first, there) : f32{});
        }
    }
}

// Where the pixels of a channel lie together. A vector's worth of channels goes along the whole run before
// the next: planes often lie a power of two apart, and then 16 of them would fight for one set of the cache.
template <class Stored>
void load_planar(const Stored* from, int64_t stride_c, int64_t count, int lanes, float* to) {
    constexpr int lane = kLanes<float>;
    for (int first = 0; first < kBlockLanes; first += lane) {
        const Stored* const plane = from + first * stride_c;
        const int there = lanes - first < lane ? lanes - first : lane;
        for (int64_t i = 0; i < count; i += lane) {
            const int64_t pixels = count - i;
            f32 rows[lane];
            if (there == lane && pixels >= lane) {
#pragma GCC unroll 16
                for (int c = 0; c < lane; ++c) rows[c] = widen(plane + c * stride_c + i);
            } else {
                for (int c = 0; c < lane; ++c) {
                    rows[c] = c < there ? widen_part(plane + c * stride_c + i, pixels) : f32{};
                }
            }
            transpose(rows);
            if (pixels >= lane) {
#pragma GCC unroll 16
                for (int p = 0; p < lane; ++p) store(to + (i + p) * kBlockLanes + first, rows[p]);
            } else {
                for (int p = 0; p < pixels; ++p) store(to + (i + p) * kBlockLanes + first, rows[p]);
            }
        }
    }
}

template <class Stored>
void load_run(const genfuse_image& image, int64_t n, int64_t c, int lanes, int64_t y, int64_t x,
              int64_t count, float* to) {
    if (image.layout == GENFUSE_PLANAR) {
        load_planar(row_of<Stored>(image, n, c, y) + x, image.stride_c, count, lanes, to);
        return;
    }
    if (image.layout == GENFUSE_CHANNELS_LAST || c % kBlockLanes == 0) {
        load_adjacent(row_of<Stored>(image, n, c, y) + x * image.stride_w, image.stride_w, count, lanes, to);
        return;
    }
    for (int lane = 0; lane < kBlockLanes; ++lane) {  // a group that starts in the middle of a block
        const Stored* const from = row_of<Stored>(image, n, c + lane, y) + x * image.stride_w;
        for (int64_t i = 0; i < count; ++i) {
            to[i * kBlockLanes + lane] = lane < lanes ? widened(from[i * image.stride_w]) : 0.0f;
        }
    }
}

// The first `count` pixels of a row's channels [c, c + lanes), `pitch` floats a pixel and none between the
// channels; a vector more may be written.
template <class Stored>
void load_tight(const genfuse_image& image, int64_t n, int64_t c, int lanes, int64_t y, int64_t count,
                int pitch, float* to) {
    if (image.layout == GENFUSE_CHANNELS_LAST && image.stride_w == lanes && pitch == lanes) {
        widen_run(row_of<Stored>(image, n, c, y), count * lanes, to);
        return;
    }
    constexpr int64_t kPiece = 64;
    float piece[kPiece];
    const int64_t stride = pixel_stride(image);
    for (int lane = 0; lane < lanes; ++lane) {
        const Stored* const from = row_of<Stored>(image, n, c + lane, y);
        for (int64_t first = 0; first < count; first += kPiece) {
            const int64_t there = count - first < kPiece ? count - first : kPiece;
            load_spread(from + first * stride, stride, there, piece);
            for (int64_t i = 0; i < there; ++i) to[(first + i) * pitch + lane] = piece[i];
        }
    }
}

template <class Stored>
void store_adjacent(const float* from, int64_t stride, int64_t count, int lanes, Stored* to) {
    for (int64_t i = 0; i < count; ++i) {
        if (lanes == kBlockLanes) {
            for (int part = 0; part < kParts; ++part) {
                const int64_t at = part * kLanes<float>;
                narrow(to + i * stride + at, load<f32>(from + i * kBlockLanes + at));
            }
            continue;
        }
        for (int first = 0; first < lanes; first += kLanes<float>) {
            narrow_part(to + i * stride + first, load<f32>(from + i * kBlockLanes + first), lanes - first);
        }
    }
}

template <class Stored>
void store_planar(const float* from, int64_t stride_c, int64_t count, int lanes, Stored* to) {
    constexpr int lane = kLanes<float>;
    for (int first = 0; first < lanes; first += lane) {
        Stored* const plane = to + first * stride_c;
        const int there = lanes - first < lane ? lanes - first : lane;
        for (int64_t i = 0; i < count; i += lane) {
            const int64_t pixels = count - i;
            f32 rows[lane];
            if (pixels >= lane) {
#pragma GCC unroll 16
                for (int p = 0; p < lane; ++p) rows[p] = load<f32>(from + (i + p) * kBlockLanes + first);
            } else {
                for (int p = 0; p < lane; ++p) {
                    rows[p] = p < pixels ? load<f32>(from + (i + p) * kBlockLanes + first) : f32{};
                }
            }
            transpose(rows);
            if (there == lane && pixels >= lane) {
#pragma GCC unroll 16
                for (int c = 0; c < lane; ++c) narrow(plane + c * stride_c + i, rows[c]);
            } else {
                for (int c = 0; c < there; ++c) narrow_part(plane + c * stride_c + i, rows[c], pixels);
            }
        }
    }
}

// The way back; lanes beyond `lanes` are not written, except in the padding of the blocked layout's last
// block.
template <class Stored>
void store_run(const genfuse_image& image, int64_t n, int64_t c, int lanes, int64_t y, int64_t x,
               int64_t count, const float* from) {
    if (image.layout == GENFUSE_PLANAR) {
        store_planar(from, image.stride_c, count, lanes, row_of<Stored>(image, n, c, y) + x);
        return;
    }
    if (image.layout == GENFUSE_CHANNELS_LAST || c % kBlockLanes == 0) {
        const bool padded = image.layout == GENFUSE_BLOCKED && c + lanes == image.channels;
        store_adjacent(from, image.stride_w, count, padded ? kBlockLanes : lanes,
                       row_of<Stored>(image, n, c, y) + x * image.stride_w);
        return;
    }
    for (int lane = 0; lane < lanes; ++lane) {
        Stored* const to = row_of<Stored>(image, n, c + lane, y) + x * image.stride_w;
        for (int64_t i = 0; i < count; ++i) {
            to[i * image.stride_w] = narrowed<Stored>(from[i * kBlockLanes + lane]);
        }
    }
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
