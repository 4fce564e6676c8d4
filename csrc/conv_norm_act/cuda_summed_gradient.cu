// The gradient of x and its sums in one pass, where statistics are constant or a pixel's.
#include "common/cuda/shared.h"
#include "conv_norm_act/cuda_gradient.h"

namespace genfuse {

template <class Stored, Order order, class Index>
__device__ void summed_gradient(const GradientArguments& arguments) {
    GENFUSE_SHARED(double, room, (Access<Stored, order>::channels * kTileThreads));
    gradient_pass<true, true, Stored, order, Index>(arguments, room);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
// Offsets of 64 bits take registers that a second block would need: it would spill them in bfloat16.
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, sizeof(GENFUSE_INDEX) > 4 ? 1 : 2)
    summed_gradient(const __grid_constant__ genfuse::GradientArguments arguments) {
    using namespace genfuse;
    genfuse::summed_gradient<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
