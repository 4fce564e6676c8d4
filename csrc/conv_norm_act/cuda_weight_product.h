// The products of a tile's dense and gathered pixels, summed over the pixels: on tensor cores, and in float32
// without.
#pragma once

#include "common/cuda/fused.h"
#include "conv_norm_act/cuda_product.h"
#include "conv_norm_act/cuda_weight_tile.h"

namespace genfuse {

// Shared memory of a tile: chunks of dense and of gathered channels, each rows of 64 bytes a pixel.
template <class Stored>
struct WeightOperands {
    using Word = Chunk<Stored>;
    const Word* dense;
    const Word* gathered;
    const Word* zeros;                // one, for pixels that are not made
    int dense_chunk, gathered_chunk;  // words of one
};

template <class Stored, class Tile, Precision precision>
class WeightProduct {
    using Word = Chunk<Stored>;
    using Factors = TensorFactors<Stored, precision>;
    static constexpr int kM = Tile::kWarpOutputs / 16, kN = Tile::kInputs / 8;

    const int lane_, output_;  // the warp's first
    float sum_[Tile::kWarpUnits][kM][kN][4] = {};

  public:
    __device__ WeightProduct()
        : lane_(static_cast<int>(threadIdx.x) % 32),
          output_(static_cast<int>(threadIdx.x) / 32 / Tile::kWarpColumns * Tile::kWarpOutputs) {}

    // Of kStep pixels from `first` on. place(p): where the gathered tile has what pixel p reads with tap 0,
    // −1 of one that is not made. shift(u): the tap's place beyond that of the warp's unit u, −1: no such
    // unit.
    template <class Place, class Shift, class ChunkOf>
    __device__ void add(const WeightOperands<Stored>& of, int first, Place place, Shift shift,
                        ChunkOf chunk_of) {
        for (int half = 0; half < (sizeof(Stored) < 4 ? 1 : 2); ++half) {
            const int from = first + half * 8;
            uint32 a[kM][4];
#pragma unroll
            for (int m = 0; m < kM; ++m) load_dense(of, from, output_ + 16 * m, a[m]);
            int places[2];
            find(place, from, places);
#pragma unroll
            for (int u = 0; u < Tile::kWarpUnits; ++u) {
                const int moved = shift(u);
                if (moved < 0) continue;
                const Word* const chunk = of.gathered + chunk_of(u) * of.gathered_chunk;
#pragma unroll
                for (int n = 0; n < kN; n += 2) {
                    uint32 b[4];
                    load_gathered(chunk, of.zeros, places, moved, n, b);
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        const uint32 of_n[2] = {b[2 * i], b[2 * i + 1]};
#pragma unroll
                        for (int m = 0; m < kM; ++m) Factors::add(a[m], of_n, sum_[u][m][n + i]);
                    }
                }
            }
        }
    }

    // use(unit, output, channel of the chunk, two sums of channels beside each other)
    template <class Use>
    __device__ void each(Use use) const {
#pragma unroll
        for (int u = 0; u < Tile::kWarpUnits; ++u) {
#pragma unroll
            for (int m = 0; m < kM; ++m) {
#pragma unroll
                for (int n = 0; n < kN; ++n) {
                    const int output = output_ + 16 * m + lane_ / 4, channel = 8 * n + lane_ % 4 * 2;
                    const float (&sum)[4] = sum_[u][m][n];
                    use(u, output, channel, sum[0], sum[1]);
                    use(u, output + 8, channel, sum[2], sum[3]);
                }
            }
        }
    }

  private:
    // Of half precision a lane names the row of a pixel, lane % 16; of float32 it reads two itself, of which
    // eight lanes' meet all banks: pixels 0, 1, 4, 5 and then 2, 3, 6, 7, in both factors.
    __device__ int pixel() const { return (lane_ & 1) + (lane_ & 2) * 2; }

    template <class Place>
    __device__ void find(Place place, int first, int (&places)[2]) const {
        if constexpr (sizeof(Stored) < 4) {
            places[0] = place(first + lane_ % 16);
        } else {
            places[0] = place(first + pixel());
            places[1] = place(first + pixel() + 2);
        }
    }

    __device__ void load_dense(const WeightOperands<Stored>& of, int first, int output,
                               uint32 (&a)[4]) const {
        const Word* const chunk = of.dense + output / Tile::kInputs * of.dense_chunk;
        const int channel = output % Tile::kInputs;
        if constexpr (sizeof(Stored) < 4) {
            const int row = first + lane_ / 16 * 8 + lane_ % 8;
            load_transposed(chunk + swizzled(row, channel / Tile::kEach + lane_ / 8 % 2), a);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                a[i] = element(chunk, first + pixel() + i / 2 * 2, channel + lane_ / 4 + i % 2 * 8);
            }
        }
    }

    // Of two tiles of eight channels, the first number n of the chunk.
    __device__ void load_gathered(const Word* chunk, const Word* zeros, const int (&places)[2], int moved,
                                  int n, uint32 (&b)[4]) const {
        if constexpr (sizeof(Stored) < 4) {
            const Word* const row = chunk + swizzled(places[0] + moved, n + lane_ / 16);
            load_transposed(places[0] < 0 ? zeros : row, b);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int at = places[i % 2];
                b[i] = at < 0 ? 0 : element(chunk, at + moved, 8 * (n + i / 2) + lane_ / 4);
            }
        }
    }

    __device__ static uint32 element(const Word* chunk, int row, int channel) {
        return __float_as_uint(chunk[swizzled(row, channel / 4)].element[channel % 4]);
    }
};

// A lane sums 4 outputs by 4 channels of each unit, pixel by pixel.
template <class Tile>
class FusedWeightProduct {
    using Word = Chunk<float>;
    static constexpr int kSide = 4;

    const int lane_, output_;
    float sum_[Tile::kWarpUnits][kSide][kSide] = {};

  public:
    __device__ FusedWeightProduct()
        : lane_(static_cast<int>(threadIdx.x) % 32),
          output_(static_cast<int>(threadIdx.x) / 32 / Tile::kWarpColumns * Tile::kWarpOutputs +
                  lane_ / kSide * kSide) {}

    template <class Place, class Shift, class ChunkOf>
    __device__ void add(const WeightOperands<float>& of, int first, Place place, Shift shift,
                        ChunkOf chunk_of) {
        const Word* const dense = of.dense + output_ / Tile::kInputs * of.dense_chunk;
#pragma unroll 1
        for (int pixel = first; pixel < first + Tile::kStep; ++pixel) {
            const int at = place(pixel);
            if (at < 0) continue;
            const Word a = dense[swizzled(pixel, output_ % Tile::kInputs / kSide)];
#pragma unroll
            for (int u = 0; u < Tile::kWarpUnits; ++u) {
                const int moved = shift(u);
                if (moved < 0) continue;
                const Word b =
                    of.gathered[chunk_of(u) * of.gathered_chunk + swizzled(at + moved, lane_ % kSide)];
#pragma unroll
                for (int i = 0; i < kSide; ++i) {
#pragma unroll
                    for (int j = 0; j < kSide; ++j) {
                        sum_[u][i][j] = fused(a.element[i], b.element[j], sum_[u][i][j]);
                    }
                }
            }
        }
    }

    template <class Use>
    __device__ void each(Use use) const {
#pragma unroll
        for (int u = 0; u < Tile::kWarpUnits; ++u) {
#pragma unroll
            for (int i = 0; i < kSide; ++i) {
#pragma unroll
                for (int j = 0; j < kSide; j += 2) {
                    use(u, output_ + i, lane_ % kSide * kSide + j, sum_[u][i][j], sum_[u][i][j + 1]);
                }
            }
        }
    }
};

}  // namespace genfuse
