// The kernel of norm_act where the output's statistics are wanted.
#include "common/cuda/shared.h"
#include "norm_act/cuda_unit.h"

namespace genfuse {

template <class Stored, Order order, class Index>
__device__ void measured_act(const NormActArguments& arguments) {
    GENFUSE_SHARED(double, room, (Access<Stored, order>::channels * kTileThreads));
    norm_act<true, Stored, order, Index>(arguments, room);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    measured_act(const __grid_constant__ genfuse::NormActArguments arguments) {
    using namespace genfuse;
    genfuse::measured_act<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
