// The kernel of norm_act where some pixels' mean is one of the output.
#include "common/cuda/shared.h"
#include "norm_act/cuda_unit.h"

namespace genfuse {

template <class Stored, Order order, class Index>
__device__ void pool_act(const NormActArguments& arguments) {
    using Of = Access<Stored, order>;
    GENFUSE_SHARED(double, room, Of::channels* kTileThreads);
    const Unit<Stored, order, Index> unit(arguments);
    const auto& spot = unit.spot;
    const int across = static_cast<int>(arguments.pool_w),
              members = static_cast<int>(arguments.pool_h) * across;
    const Index width = static_cast<Index>(arguments.width),
                out_width = static_cast<Index>(arguments.out_width);
    const float share = 1.0f / static_cast<float>(members);
    Piece<Of::channels> piece;
    for (Index start = spot.begin; start < spot.end; start += spot.chunk) {
#pragma unroll 1
        for (int i = 0; i < kAccesses; ++i) {
            const Index made = spot.position(start, i), row = made / out_width;
            if (!spot.exists(made)) continue;
            const Index first = row * static_cast<Index>(arguments.pool_h) * width +
                                (made - row * out_width) * static_cast<Index>(across);
            float value[Of::numel] = {};
            // Two rows at most, and two pixels of each.
#pragma unroll 1
            for (int member = 0; member < members; ++member) {
                const Index position = first + (member >= across ? width : 0) + (member % across);
                const auto x = load_packed<Stored, Of::numel>(spot.address(arguments.x, position));
                Packed<Stored, Of::numel> residual = {};
                if (arguments.residual.data) {
                    residual = load_packed<Stored, Of::numel>(spot.address(arguments.residual, position));
                }
                uint32 kept = 0;
                if (arguments.dropout.seeds) {
                    kept =
                        Mask(arguments.dropout, spot.sample)
                            .template of_access<Stored, order>(arguments.table.first_channel + spot.channel,
                                                               position, arguments.positions);
                }
                float of_member[Of::numel];
                unit.make(x, residual, kept, position, of_member);
#pragma unroll
                for (int j = 0; j < Of::numel; ++j) value[j] = fused(of_member[j], share, value[j]);
            }
            store_packed(value, spot.address(arguments.out, made));
            if (arguments.to.stats) piece.add(value);
        }
    }
    if (arguments.to.stats) store_moments(arguments.to, spot, piece, room);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
// Offsets of 64 bits take registers that a second block would need: it would spill them in bfloat16.
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, sizeof(GENFUSE_INDEX) > 4 ? 1 : 2)
    pool_act(const __grid_constant__ genfuse::NormActArguments arguments) {
    using namespace genfuse;
    genfuse::pool_act<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
