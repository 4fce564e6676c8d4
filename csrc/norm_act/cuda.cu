// The kernel of norm_act where neither pixels are averaged nor the output's statistics are wanted.
#include "norm_act/cuda_unit.h"

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    norm_act(const __grid_constant__ genfuse::NormActArguments arguments) {
    using namespace genfuse;
    genfuse::norm_act<false, GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments, nullptr);
}
#endif
