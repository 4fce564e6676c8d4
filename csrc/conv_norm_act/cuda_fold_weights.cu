// The spans' sums of a weight gradient one after the other, in double: from (outputs, taps, inputs) to
// (outputs, inputs, taps), a thread four inputs. And, in blocks behind these, the sums of the output's
// gradient over space, from those of tiles.
#include "common/cuda/shared.h"
#include "common/cuda/tile.h"

namespace genfuse {

// As conv_norm_act/cuda_weight_gradient.py fills it, eight bytes a field.
struct FoldWeightsArguments {
    float* out;            // (outputs, inputs, taps)
    const float* partial;  // (splits, outputs, taps, row), a row whole chunks
    int64 splits, numel;   // the latter of a split
    int64 taps, inputs, row;
    int64 adds;             // to what is in `out`
    float* sums;            // (count,), of all samples' channels
    const float* of_tiles;  // (tiles of `samples` samples, parts of each, samples, channels)
    int64 count, parts, samples, channels;
};

constexpr int kSumLanes = 32;  // sums of a block; as many threads as there are left share one

__device__ inline void fold_sums(const FoldWeightsArguments& of, int64 block) {
    GENFUSE_SHARED(double, shares, kTileThreads);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kSumLanes;
    const int64 item = block * kSumLanes + lane;
    double total = 0;
    if (item < of.count) {
        const int64 sample = item / of.channels, tiles = sample / of.samples;
        const float* const from = of.of_tiles +
                                  (tiles * of.parts * of.samples + sample % of.samples) * of.channels +
                                  item % of.channels;
#pragma unroll 4
        for (int64 part = thread / kSumLanes; part < of.parts; part += kTileThreads / kSumLanes) {
            total += static_cast<double>(from[part * of.samples * of.channels]);
        }
    }
    shares[thread] = total;
    __syncthreads();
    if (thread >= kSumLanes || item >= of.count) return;
    for (int other = thread + kSumLanes; other < kTileThreads; other += kSumLanes) total += shares[other];
    of.sums[item] = static_cast<float>(total);
}

__device__ inline void fold_weights(const FoldWeightsArguments& of) {
    constexpr int64 kEach = 4 * kTileThreads;
    const int64 blocks = (of.numel + kEach - 1) / kEach;
    if (blockIdx.x >= blocks) return fold_sums(of, blockIdx.x - blocks);
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
