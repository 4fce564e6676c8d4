// Sizes of a block of the weight gradient: outputs by units, a unit a tap and a chunk of gathered channels.
#pragma once

#include "conv_norm_act/cuda_tile.h"

namespace genfuse {

// Rows x Columns warps; one takes 32 outputs by every Columns-th unit, Units of them.
template <class Stored, int Rows, int Columns, int Units>
struct WeightTile {
    static constexpr int kWarpOutputs = 32, kWarpColumns = Columns, kWarpUnits = Units;
    static constexpr int kOutputs = Rows * kWarpOutputs, kUnits = Columns * Units;
    static constexpr int kThreads = Rows * Columns * 32;
    static constexpr int kEach = 16 / static_cast<int>(sizeof(Stored));
    static constexpr int kWords = 4;
    static constexpr int kInputs = kWords * kEach;
    static constexpr int kDense = kOutputs / kInputs;  // chunks
    static constexpr int kStep = 16;                   // pixels multiplied at a time
};

// Where the calling warp's units of a block are: `unit` counts those of the warp.
struct WeightUnit {
    int tap, chunk;  // of the block
    bool exists;

    template <class Tile>
    __device__ static WeightUnit of(int unit, int taps, int chunks) {
        const int warp = static_cast<int>(threadIdx.x) / 32;
        const int number = warp % Tile::kWarpColumns + unit * Tile::kWarpColumns;
        return {number % taps, number / taps, number < taps * chunks};
    }
};

}  // namespace genfuse
