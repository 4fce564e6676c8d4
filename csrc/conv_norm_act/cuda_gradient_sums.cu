// The sums over space that gradients need, in one pass over gradient and x.
#include "common/cuda/shared.h"
#include "conv_norm_act/cuda_gradient.h"

namespace genfuse {

template <class Stored, Order order, class Index>
__device__ void gradient_sums(const GradientArguments& arguments) {
    GENFUSE_SHARED(double, room, (Access<Stored, order>::channels * kTileThreads));
    gradient_pass<true, false, Stored, order, Index>(arguments, room);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    gradient_sums(const __grid_constant__ genfuse::GradientArguments arguments) {
    using namespace genfuse;
    genfuse::gradient_sums<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
