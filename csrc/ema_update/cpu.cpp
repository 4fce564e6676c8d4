// The kernel of ema_update; compiled once for each instruction set.
#include "common/list_tiles.h"
#include "ema_update/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// torch.lerp's two forms: from the nearer end, so that equal ends give themselves and a weight of 1 the
// parameter.
template <bool near_average, class V>
GENFUSE_INLINE V lerp(V average, V parameter, V decay, V weight) {
    const V step = parameter - average;
    return near_average ? fma(weight, step, average) : fma(-decay, step, parameter);
}

template <bool near_average, class Average, class Parameter, class T>
void average_run(Average* average, const Parameter* parameter, int64_t count, T decay, T weight) {
    using V = vec<T>;
    constexpr int64_t lanes = kLanes<T>;
    const V d = broadcast<V>(decay), w = broadcast<V>(weight);
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        narrow(average + i, lerp<near_average>(widen(average + i), widen(parameter + i), d, w));
    }
    if (i == count) return;
    const V a = widen_last(average + i, count - i), p = widen_last(parameter + i, count - i);
    narrow_last(average + i, lerp<near_average>(a, p, d, w), count - i);
}

template <class Average, class Parameter>
void average_dense(Average* average, const Parameter* parameter, int64_t count, double decay) {
    using T = Arithmetic_t<Average>;
    const double weight = 1 - decay;
    const T d = static_cast<T>(decay), w = static_cast<T>(weight);
    if (weight < 0.5) {
        average_run<true>(average, parameter, count, d, w);
    } else {
        average_run<false>(average, parameter, count, d, w);
    }
}

template <class Average, class Parameter>
void average_tile(const Listed& to, const Listed& from, const Tile& tile, double decay) {
    Average* const average = static_cast<Average*>(to.data);
    const Parameter* const parameter = static_cast<const Parameter*>(from.data);
    if (to.layout.dense() && from.layout.dense()) {
        average_dense(average + tile.element, parameter + tile.element, tile.count, decay);
        return;
    }
    using T = Arithmetic_t<Average>;
    T* const room = static_cast<T*>(thread_scratch());
    for_pieces(tile, [&](int64_t first, int64_t length) {
        gather(average, to.layout, first, length, room);
        gather(parameter, from.layout, first, length, room + kTileRoom);
        average_dense(room, room + kTileRoom, length, decay);
        scatter(room, to.layout, first, length, average);
    });
}

}  // namespace

void ema_update_units(const EmaJob& job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
        const Tile& tile = job.tiles[i];
        const Listed& to = job.averages[tile.tensor];
        const Listed& from = job.parameters[tile.tensor];
        if (to.dtype == GENFUSE_FLOAT64) {
            average_tile<double, double>(to, from, tile, job.decay);
            continue;
        }
        with_stored(to.dtype, [&](auto average) {
            with_stored(from.dtype, [&](auto parameter) {
                average_tile<decltype(average), decltype(parameter)>(to, from, tile, job.decay);
            });
        });
    }
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
