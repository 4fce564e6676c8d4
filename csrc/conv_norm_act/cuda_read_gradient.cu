// The gradient of x where its sums over space are known, or nobody needs them.
#include "conv_norm_act/cuda_gradient.h"

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    read_gradient(const __grid_constant__ genfuse::GradientArguments arguments) {
    using namespace genfuse;
    gradient_pass<false, true, GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments, nullptr);
}
#endif
