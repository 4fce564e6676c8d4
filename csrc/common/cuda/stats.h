// Where a block's mean and variance of a channel go: to the statistics, or, where several blocks share a
// channel, to a part that csrc/fold_moments merges with the others.
#pragma once

#include "common/cuda/moments.h"
#include "common/cuda/tile.h"

namespace genfuse {

// Each pointer may be null. `rows` channels of all samples together.
struct StatsArguments {
    float* stats;     // (rows, 2): mean and variance, where one block has a channel to itself
    double* moments;  // (3, splits, rows): count, mean and squared deviations
    int64 splits, rows;
};

// Of the thread's piece; called by all threads of the block.
template <class Spot, int Rows>
__device__ void store_moments(const StatsArguments& to, const Spot& spot, const Piece<Rows>& piece,
                              double* room) {
    Moments found[Rows];
    const double count = static_cast<double>(spot.end - spot.begin);
    piece.template moments<kTileThreads>(spot.lanes, count, room, found);
    if (!spot.leads()) return;
    const int64 row = spot.sample * spot.channels + spot.channel;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
        if (to.moments) {
            double* const part = to.moments + spot.split * to.rows + row + r;
            part[0] = count;
            part[to.splits * to.rows] = found[r].mean;
            part[2 * to.splits * to.rows] = found[r].squares;
        } else {
            to.stats[2 * (row + r)] = static_cast<float>(found[r].mean);
            to.stats[2 * (row + r) + 1] = static_cast<float>(found[r].squares / count);
        }
    }
}

}  // namespace genfuse
