// How kernels go through the tiles of a list: vectors of stored elements, dense or by way of a small buffer.
#pragma once

#include "common/scratch.h"
#include "common/tensor_list.h"
#include "common/tile.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Calls run(element, count) for pieces of a tile that fit a tile buffer.
template <class Run>
GENFUSE_INLINE void for_pieces(const Tile& tile, Run run) {
    for (int64_t done = 0; done < tile.count; done += kTile) {
        run(tile.element + done, tile.count - done < kTile ? tile.count - done : kTile);
    }
}

// Calls run(stored) with a value of the type of this dtype.
template <class Run>
GENFUSE_INLINE void with_element(int32_t dtype, Run run) {
    if (dtype == GENFUSE_FLOAT64) {
        run(double{});
    } else {
        with_stored(dtype, run);
    }
}

template <class Stored>
using Arithmetic_t = typename Arithmetic<Stored>::type;

// The last `count` values, fewer than a vector, from `from` on; the other lanes are zero.
template <class Stored>
GENFUSE_INLINE vec<Arithmetic_t<Stored>> widen_last(const Stored* from, int64_t count) {
    Stored part[kLanes<Arithmetic_t<Stored>>] = {};
    __builtin_memcpy(part, from, static_cast<size_t>(count) * sizeof(Stored));
    return widen(part);
}

template <class Stored>
GENFUSE_INLINE void narrow_last(Stored* to, vec<Arithmetic_t<Stored>> value, int64_t count) {
    Stored part[kLanes<Arithmetic_t<Stored>>];
    narrow(part, value);
    __builtin_memcpy(to, part, static_cast<size_t>(count) * sizeof(Stored));
}

// Replaces `count` elements of a tensor, from `element` on, by change(vector) of them.
template <class Stored, class Change>
GENFUSE_INLINE void change_run(Stored* data, int64_t count, Change change) {
    constexpr int64_t lanes = kLanes<Arithmetic_t<Stored>>;
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) narrow(data + i, change(widen(data + i)));
    if (i < count) narrow_last(data + i, change(widen_last(data + i, count - i)), count - i);
}

template <class Stored, class Change>
GENFUSE_INLINE void change_tile(const Listed& tensor, const Tile& tile, Change change) {
    Stored* const data = static_cast<Stored*>(tensor.data);
    if (tensor.layout.dense()) {
        change_run(data + tile.element, tile.count, change);
        return;
    }
    using T = Arithmetic_t<Stored>;
    T* const room = static_cast<T*>(thread_scratch());
    for_pieces(tile, [&](int64_t first, int64_t length) {
        gather(data, tensor.layout, first, length, room);
        change_run(room, length, change);
        scatter(room, tensor.layout, first, length, data);
    });
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
