// A block's sums as its threads hold them, kept in shared or global memory while it sums something else.
#pragma once

#include "common/cuda/tile.h"
#include "conv_norm_act/cuda_tile.h"

namespace genfuse {

// Four sums of a thread lie together and those of its neighbours beside them, so that a warp moves whole
// lines of memory and meets each bank once.
template <class Tile>
class Fragments {
    static constexpr int kSums = Tile::kPixels * Tile::kOutputs;

    Packed<float, 4>* const own_;

  public:
    __device__ Fragments(void* first, int64 block)
        : own_(static_cast<Packed<float, 4>*>(first) + block * (kSums / 4) + threadIdx.x) {}

    // Moves the product's sums here; it begins with 0 again.
    template <class Product>
    __device__ void take(Product& product) const {
        product.each([&](int number, float (&sum)[4]) {
            own_[number * Tile::kThreads] = {sum[0], sum[1], sum[2], sum[3]};
#pragma unroll
            for (int j = 0; j < 4; ++j) sum[j] = 0;
        });
    }

    // product += what lies here; of `Parts` parts of it one.
    template <int Parts = 1, int part = 0, class Product>
    __device__ void add_to(Product& product) const {
        product.each([&](int number, float (&sum)[4]) {
            if (number % Parts != part) return;
            const Packed<float, 4> kept = own_[number * Tile::kThreads];
#pragma unroll
            for (int j = 0; j < 4; ++j) sum[j] += kept.element[j];
        });
    }
};

}  // namespace genfuse
