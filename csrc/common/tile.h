// A run of a sample's elements, in logical order, between its place in memory and a small dense buffer.
#pragma once

#include <type_traits>

#include "common/half.h"
#include "common/layout.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Elements of a tile buffer; a few more stand behind it, so that a whole vector may be read or written there.
constexpr int64_t kTile = 2048;
constexpr int64_t kTileRoom = kTile + 384;  // also keeps equal elements of two tiles off the same cache set

// Calls run(offset, stride, position, length) for the pieces of [element, element + count) along the last
// axis: `length` elements from memory offset `offset`, `stride` apart, at `position` in the tile.
template <class Run>
GENFUSE_INLINE void walk(const Layout& layout, int64_t element, int64_t count, Run run) {
    if (layout.dense()) {
        run(element, int64_t{1}, int64_t{0}, count);
        return;
    }
    const int last = layout.axes - 1;
    int64_t place[GENFUSE_MAX_AXES];
    int64_t offset = 0;
    for (int axis = last; axis >= 0; --axis) {
        place[axis] = element % layout.size[axis];
        element /= layout.size[axis];
        offset += place[axis] * layout.stride[axis];
    }
    for (int64_t position = 0;;) {
        const int64_t left = layout.size[last] - place[last];
        const int64_t length = left < count - position ? left : count - position;
        run(offset, layout.stride[last], position, length);
        position += length;
        if (position == count) return;
        offset -= place[last] * layout.stride[last];
        place[last] = 0;
        for (int axis = last - 1;; --axis) {
            offset += layout.stride[axis];
            if (++place[axis] < layout.size[axis]) break;
            offset -= layout.size[axis] * layout.stride[axis];
            place[axis] = 0;
        }
    }
}

// Every `stride`th value from `from` on, whole vectors of them; returns how many it got. Nothing behind the
// last of `length` values is read.
template <int stride>
int64_t gather_vectors(const float* from, int64_t length, float* to) {
    constexpr int lanes = kLanes<float>;
    i32 lane[stride];  // of what is there and the next vector read, behind it
    for (int k = 0; k < stride; ++k) {
        for (int j = 0; j < lanes; ++j) {
            const int place = stride * j - k * lanes;
            lane[k][j] = place >= 0 && place < lanes ? lanes + place : j;
        }
    }
    int64_t done = 0;
    for (; length - done > lanes; done += lanes, from += stride * lanes) {
        f32 values{};
        for (int k = 0; k < stride; ++k) values = pick(values, load<f32>(from + k * lanes), lane[k]);
        store(to + done, values);
    }
    return done;
}

// Of a channels-last image of few channels, as pictures and latents are, one channel.
inline int64_t gather_vectors(const float* from, int64_t stride, int64_t length, float* to) {
    switch (stride) {
        case 2:
            return gather_vectors<2>(from, length, to);
        case 3:
            return gather_vectors<3>(from, length, to);
        case 4:
            return gather_vectors<4>(from, length, to);
        default:
            return 0;
    }
}

template <class Stored, class T>
void gather(const Stored* sample, const Layout& layout, int64_t element, int64_t count, T* tile) {
    walk(layout, element, count, [&](int64_t offset, int64_t stride, int64_t position, int64_t length) {
        if (stride == 1) {
            widen_run(sample + offset, length, tile + position);
            return;
        }
        int64_t done = 0;
        if constexpr (std::is_same<Stored, float>::value && std::is_same<T, float>::value) {
            done = gather_vectors(sample + offset, stride, length, tile + position);
        }
        Stored piece[64];
        for (; done < length; done += 64) {
            const int64_t part = length - done < 64 ? length - done : 64;
            for (int64_t i = 0; i < part; ++i) piece[i] = sample[offset + (done + i) * stride];
            widen_run(piece, part, tile + position + done);
        }
    });
}

template <class Stored, class T>
void scatter(const T* tile, const Layout& layout, int64_t element, int64_t count, Stored* sample) {
    walk(layout, element, count, [&](int64_t offset, int64_t stride, int64_t position, int64_t length) {
        if (stride == 1) {
            narrow_run(tile + position, length, sample + offset);
            return;
        }
        Stored piece[64];
        for (int64_t done = 0; done < length; done += 64) {
            const int64_t part = length - done < 64 ? length - done : 64;
            narrow_run(tile + position + done, part, piece);
            for (int64_t i = 0; i < part; ++i) sample[offset + (done + i) * stride] = piece[i];
        }
    });
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
