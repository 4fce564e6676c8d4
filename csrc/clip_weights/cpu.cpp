// The kernel of clip_weights; compiled once for each instruction set.
#include "clip_weights/job.h"
#include "common/list_tiles.h"

namespace genfuse {
namespace GENFUSE_ISA {

void clip_weights_units(const ClipJob& job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
        const Tile& tile = job.tiles[i];
        const Listed& parameter = job.parameters[tile.tensor];
        with_element(parameter.dtype, [&](auto stored) {
            using Stored = decltype(stored);
            using T = Arithmetic_t<Stored>;
            const auto high = broadcast<vec<T>>(static_cast<T>(job.bound));
            change_tile<Stored>(parameter, tile, [&](auto value) { return clamp(value, -high, high); });
        });
    }
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
