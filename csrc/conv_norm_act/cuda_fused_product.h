// The products of a block's pixels and outputs in float32, without tensor cores: one sum after the other,
// each over taps and channels in order.
#pragma once

#include "common/cuda/fused.h"
#include "conv_norm_act/cuda_tile.h"

namespace genfuse {

template <class Tile>
class FusedProduct {
    using Word = Chunk<float>;
    static constexpr int kAcross = 16;  // threads that share pixels
    static constexpr int kM = Tile::kPixels / (Tile::kThreads / kAcross), kN = Tile::kOutputs / kAcross;

    const int pixel_, output_;  // the thread's first; the next outputs are kAcross apart
    int place_[kM];
    float sum_[kM][kN] = {};

  public:
    __device__ FusedProduct()
        : pixel_(static_cast<int>(threadIdx.x) / kAcross * kM),
          output_(static_cast<int>(threadIdx.x) % kAcross) {}

    template <class Place>
    __device__ void begin(Place place) {
#pragma unroll
        for (int m = 0; m < kM; ++m) place_[m] = place(pixel_ + m);
    }

    __device__ void add(const Word* halo, int shift, const Word* weights) {
#pragma unroll 1
        for (int k = 0; k < Tile::kWords; ++k) {
            Word b[kN];
#pragma unroll
            for (int n = 0; n < kN; ++n) b[n] = weights[swizzled(output_ + kAcross * n, k)];
#pragma unroll
            for (int m = 0; m < kM; ++m) {
                const Word a = halo[swizzled(place_[m] + shift, k)];
#pragma unroll
                for (int n = 0; n < kN; ++n) {
#pragma unroll
                    for (int j = 0; j < Tile::kEach; ++j) {
                        sum_[m][n] = fused(a.element[j], b[n].element[j], sum_[m][n]);
                    }
                }
            }
        }
    }

    // use(number, four sums) of the thread's.
    template <class Use>
    __device__ void each(Use use) {
        static_assert(kN == 4, "of a pixel");
#pragma unroll
        for (int m = 0; m < kM; ++m) use(m, sum_[m]);
    }

    __device__ void store(float* into) const {
#pragma unroll
        for (int m = 0; m < kM; ++m) {
#pragma unroll
            for (int n = 0; n < kN; ++n) {
                into[(pixel_ + m) * Tile::kSumsRow + output_ + kAcross * n] = sum_[m][n];
            }
        }
    }
};

}  // namespace genfuse
