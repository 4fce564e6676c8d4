// The kernel of norm_stats; kernels/genfuse_kernels/norm_stats/spec.py says what is computed.
#include "common/cuda/shared.h"
#include "common/cuda/stats.h"

namespace genfuse {

// As norm_stats/cuda_impl.py fills it, eight bytes a field.
struct NormStatsArguments {
    StatsArguments to;
    Operand x;
    Tile tile;
};

template <class Stored, Order order, class Index>
__device__ void norm_stats(const NormStatsArguments& arguments) {
    using Of = Access<Stored, order>;
    GENFUSE_SHARED(double, room, Of::channels* kTileThreads);
    const Spot<Stored, order, Index> spot(arguments.tile);
    Piece<Of::channels> piece;
    for (Index start = spot.begin; start < spot.end; start += spot.chunk) {
        Packed<Stored, Of::numel> x[kAccesses];
        spot.load(arguments.x, start, 0, x);
#pragma unroll
        for (int i = 0; i < kAccesses; ++i) {
            if (!spot.exists(spot.position(start, i))) continue;
            float value[Of::numel];
            x[i].widen_to(value);
            piece.add(value);
        }
    }
    store_moments(arguments.to, spot, piece, room);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    norm_stats(const __grid_constant__ genfuse::NormStatsArguments arguments) {
    using namespace genfuse;
    genfuse::norm_stats<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
