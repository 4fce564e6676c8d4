// The kernels of clip_grad_norm; compiled once for each instruction set.
#include "clip_grad_norm/job.h"
#include "common/list_tiles.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

typedef float f32_half __attribute__((vector_size(GENFUSE_VECTOR_BYTES / 2)));

// Sums of squares in float64, where those of float32 neither overflow nor vanish. Two vectors of elements at
// a time have sums of their own: one addition need not wait for the last.
struct Squares {
    f64 sums[4] = {};

    GENFUSE_INLINE void add(f64 value, int place) { sums[place] = fma(value, value, sums[place]); }
    GENFUSE_INLINE void add(f32 value, int place) {
        f32_half half[2];
        __builtin_memcpy(half, &value, sizeof value);
        add(__builtin_convertvector(half[0], f64), 2 * place);
        add(__builtin_convertvector(half[1], f64), 2 * place + 1);
    }
    double total() const {
        const f64 sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        double total = 0;
        for (int lane = 0; lane < kLanes<double>; ++lane) total += sum[lane];
        return total;
    }
};

template <class Stored>
void add_squares(const Stored* from, int64_t count, Squares& squares) {
    constexpr int64_t lanes = kLanes<Arithmetic_t<Stored>>;
    int64_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
        squares.add(widen(from + i), 0);
        squares.add(widen(from + i + lanes), 1);
    }
    for (; i < count; i += lanes) {
        squares.add(count - i < lanes ? widen_last(from + i, count - i) : widen(from + i), 0);
    }
}

template <class Stored>
double squares_of_tile(const Listed& gradient, const Tile& tile) {
    const Stored* const data = static_cast<const Stored*>(gradient.data);
    Squares squares;
    if (gradient.layout.dense()) {
        add_squares(data + tile.element, tile.count, squares);
        return squares.total();
    }
    using T = Arithmetic_t<Stored>;
    T* const room = static_cast<T*>(thread_scratch());
    for_pieces(tile, [&](int64_t first, int64_t length) {
        gather(data, gradient.layout, first, length, room);
        add_squares(room, length, squares);
    });
    return squares.total();
}

}  // namespace

void sum_squares_units(const SquaresJob& job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
        const Tile& tile = job.tiles[i];
        const Listed& gradient = job.gradients[tile.tensor];
        with_element(gradient.dtype, [&](auto stored) {
            job.sums[tile.number] = squares_of_tile<decltype(stored)>(gradient, tile);
        });
    }
}

void scale_units(const ScaleJob& job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
        const Tile& tile = job.tiles[i];
        const Listed& gradient = job.gradients[tile.tensor];
        with_element(gradient.dtype, [&](auto stored) {
            using Stored = decltype(stored);
            using T = Arithmetic_t<Stored>;
            const auto factor = broadcast<vec<T>>(static_cast<T>(job.coefficient));
            change_tile<Stored>(gradient, tile, [&](auto value) { return value * factor; });
        });
    }
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
