// The products of a block's pixels and outputs, of one tap and one chunk of channels at a time, on tensor
// cores.
#pragma once

#include "common/cuda/matrix.h"
#include "conv_norm_act/cuda_tile.h"

namespace genfuse {

template <class Stored>
struct FactorOf {
    using type = Stored;
};
template <>
struct FactorOf<float> {
    using type = tf32;
};

// The products of fragments: of half precision as they are, of float32 in one or three of TF32.
template <class Stored, Precision precision>
class TensorFactors {
    using Factor = typename FactorOf<Stored>::type;

  public:
    // sum += a times the transpose of b, as `multiply` has them.
    __device__ static void add(const uint32 (&a)[4], const uint32 (&b)[2], float (&sum)[4]) {
        if constexpr (sizeof(Stored) < 4) {
            multiply(a, b, sum, Factor());
        } else {
            uint32 first_a[4], first_b[2];
            round(a, first_a);
            round(b, first_b);
            if constexpr (precision == kThreeProducts) {  // the small ones first
                uint32 rest_a[4], rest_b[2];
                rest(a, first_a, rest_a);
                rest(b, first_b, rest_b);
                multiply(rest_a, first_b, sum, Factor());
                multiply(first_a, rest_b, sum, Factor());
            }
            multiply(first_a, first_b, sum, Factor());
        }
    }

  private:
    template <int Count>
    __device__ static void round(const uint32 (&part)[Count], uint32 (&rounded)[Count]) {
#pragma unroll
        for (int i = 0; i < Count; ++i) rounded[i] = round_to_tf32(__uint_as_float(part[i]));
    }

    // What rounding left, rounded itself.
    template <int Count>
    __device__ static void rest(const uint32 (&part)[Count], const uint32 (&rounded)[Count],
                                uint32 (&left)[Count]) {
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            const float value = __uint_as_float(part[i]);
            left[i] = round_to_tf32(value - __uint_as_float(rounded[i]));
        }
    }
};

// A warp sums kWarpPixels x kWarpOutputs, in tiles of 16 x 8.
template <class Stored, class Tile, Precision precision>
class Product {
    using Word = Chunk<Stored>;
    static constexpr int kM = Tile::kWarpPixels / 16, kN = Tile::kWarpOutputs / 8;

    const int lane_, pixels_, outputs_;  // the warp's first
    int place_[kM];                      // in the halo, of the pixel whose row the lane names, for tap 0
    float sum_[kM][kN][4] = {};

  public:
    __device__ Product()
        : lane_(static_cast<int>(threadIdx.x) % 32),
          pixels_(static_cast<int>(threadIdx.x) / 32 / Tile::kWarpColumns * Tile::kWarpPixels),
          outputs_(static_cast<int>(threadIdx.x) / 32 % Tile::kWarpColumns * Tile::kWarpOutputs) {}

    // place(p): where the halo has what the block's pixel p reads with tap 0.
    template <class Place>
    __device__ void begin(Place place) {
#pragma unroll
        for (int m = 0; m < kM; ++m) place_[m] = place(pixels_ + 16 * m + lane_ % 16);
    }

    // `shift`: the tap's place beyond tap 0's.
    __device__ void add(const Word* halo, int shift, const Word* weights) {
        const int of_output = outputs_ + lane_ % 8 + lane_ / 16 * 8, of_word = lane_ / 8 % 2;
#pragma unroll
        for (int k = 0; k < Tile::kWords; k += 2) {
            uint32 b[kN / 2][4];
#pragma unroll
            for (int n = 0; n < kN / 2; ++n) {
                load_matrices(weights + swizzled(of_output + 16 * n, k + of_word), b[n]);
            }
#pragma unroll
            for (int m = 0; m < kM; ++m) {
                uint32 a[4];
                load_matrices(halo + swizzled(place_[m] + shift, k + lane_ / 16), a);
#pragma unroll
                for (int n = 0; n < kN; ++n) {
                    const uint32 of_n[2] = {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]};
                    TensorFactors<Stored, precision>::add(a, of_n, sum_[m][n]);
                }
            }
        }
    }

    // use(number, four sums) of the thread's.
    template <class Use>
    __device__ void each(Use use) {
#pragma unroll
        for (int m = 0; m < kM; ++m) {
#pragma unroll
            for (int n = 0; n < kN; ++n) use(m * kN + n, sum_[m][n]);
        }
    }

    // into[pixel][output], rows of kSumsRow.
    __device__ void store(float* into) const {
        float* const at = into + (pixels_ + lane_ / 4) * Tile::kSumsRow + outputs_ + lane_ % 4 * 2;
#pragma unroll
        for (int m = 0; m < kM; ++m) {
#pragma unroll
            for (int n = 0; n < kN; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    at[(16 * m + i / 2 * 8) * Tile::kSumsRow + 8 * n + i % 2] = sum_[m][n][i];
                }
            }
        }
    }
};

}  // namespace genfuse
