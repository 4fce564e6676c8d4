// The kernel of conv_norm_act; kernels/genfuse_kernels/conv_norm_act/spec.py says what is computed.
#include "conv_norm_act/cuda_convolution.h"
#include "conv_norm_act/cuda_finish.h"

namespace genfuse {

template <class Stored, Order order, class Index, int Pixels, int Outputs, Precision precision>
__device__ void conv_norm_act(const ConvArguments& arguments, unsigned char* shared) {
    using Of = Convolution<Stored, order, Index, Pixels, Outputs, precision, true>;
    Of(arguments, shared).run([&](const ConvBlock& block, float* sums) {
        Finish<Stored, order, Index, typename Of::Sizes>(arguments, block, sums).run();
    });
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::Launched::kThreads, genfuse::Launched::kBlocks)
    conv_norm_act(const __grid_constant__ genfuse::ConvArguments arguments) {
    using namespace genfuse;
    GENFUSE_DYNAMIC_SHARED(shared);
    genfuse::conv_norm_act<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX, GENFUSE_PIXELS, GENFUSE_OUTPUTS,
                           GENFUSE_PRECISION>(arguments, shared);
}
#endif
