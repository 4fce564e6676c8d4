// The gradient of what a unit read: a convolution, and on its way out the activation's derivative and the
// sums over space that the norm's gradient needs.
#include "conv_norm_act/cuda_convolution.h"
#include "conv_norm_act/cuda_gradient_finish.h"

namespace genfuse {

template <class Stored, Order order, class Index, int Pixels, int Outputs, Precision precision>
__device__ void data_gradient(const DataGradientArguments& arguments, unsigned char* shared) {
    using Of = Convolution<Stored, order, Index, Pixels, Outputs, precision, false>;
    Of(arguments.of, shared).run([&](const ConvBlock& block, float* sums) {
        GradientFinish<Stored, order, Index, typename Of::Sizes>(arguments, block, sums).run();
    });
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::Launched::kThreads, genfuse::Launched::kBlocks)
    data_gradient(const __grid_constant__ genfuse::DataGradientArguments arguments) {
    using namespace genfuse;
    GENFUSE_DYNAMIC_SHARED(shared);
    genfuse::data_gradient<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX, GENFUSE_PIXELS, GENFUSE_OUTPUTS,
                           GENFUSE_PRECISION>(arguments, shared);
}
#endif
