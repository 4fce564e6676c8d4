// The spans' sums of a weight gradient one after the other, in double: from (outputs, taps, inputs) to
// (outputs, inputs, taps). A thread takes four inputs.
#include "common/cuda/tile.h"

namespace genfuse {

// As conv_norm_act/cuda_weight_gradient.py fills it, eight bytes a field.
struct FoldWeightsArguments {
    float* out;            // (outputs, inputs, taps)
    const float* partial;  // (splits, outputs, taps, row), a row whole chunks
    int64 splits, numel;   // the latter of a split
    int64 taps, inputs, row;
    int64 adds;  // to what is in `out`
};

__device__ inline void fold_weights(const FoldWeightsArguments& of) {
    const int64 first = 4 * (static_cast<int64>(blockIdx.x) * kTileThreads + threadIdx.x);
    if (first >= of.numel) return;
    double total[4] = {};
    for (int64 split = 0; split < of.splits; ++split) {
        const Packed<float, 4> part = load_packed<float, 4>(of.partial + split * of.numel + first);
#pragma unroll
        for (int j = 0; j < 4; ++j) total[j] += static_cast<double>(part.element[j]);
    }
    const int64 row = first / of.row, output = row / of.taps, input = first - row * of.row;
    float* const to = of.out + (output * of.inputs + input) * of.taps + (row - output * of.taps);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        if (input + j >= of.inputs) continue;
        if (of.adds) total[j] += static_cast<double>(to[j * of.taps]);
        to[j * of.taps] = static_cast<float>(total[j]);
    }
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    fold_weights(const __grid_constant__ genfuse::FoldWeightsArguments arguments) {
    genfuse::fold_weights(arguments);
}
#endif
