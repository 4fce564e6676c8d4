// Merges the moments of blocks that share channels, in the same order always (Chan, Golub & LeVeque 1979).
#include "common/cuda/moments.h"
#include "common/cuda/shared.h"
#include "common/cuda/tile.h"

namespace genfuse {

constexpr int kFoldRows = 8;  // of a block; the threads of one are as far apart

// As norm_stats/cuda_impl.py fills it, eight bytes a field. Part i has the positions of i·span to (i +
// 1)·span.
struct FoldMomentsArguments {
    float* stats;           // (rows, 2)
    const double* partial;  // (splits, rows, 2)
    int64 rows, splits, span, positions;
};

__device__ inline void fold_moments(const FoldMomentsArguments& arguments) {
    GENFUSE_SHARED(double, room, kTileThreads);
    const int thread = static_cast<int>(threadIdx.x);
    const Lanes lanes{kTileThreads / kFoldRows, kFoldRows, thread / kFoldRows};
    const int64 row = static_cast<int64>(blockIdx.x) * kFoldRows + thread % kFoldRows;
    const int splits = row < arguments.rows ? static_cast<int>(arguments.splits) : 0;
    const auto each = [&](auto use) {
        for (int split = lanes.own; split < splits; split += lanes.count) {
            const double* const part = arguments.partial + (split * arguments.rows + row) * 2;
            use(static_cast<double>(min(arguments.span, arguments.positions - split * arguments.span)),
                part[0], part[1]);
        }
    };
    const double total = static_cast<double>(arguments.positions);
    double value[1] = {};
    each([&](double count, double mean, double) { value[0] = fused(count, mean, value[0]); });
    lane_sums<kTileThreads>(lanes, room, value);
    const double mean = value[0] / total;
    value[0] = 0;
    each([&](double count, double of_part, double squares) {
        const double off = of_part - mean;
        value[0] += fused(count * off, off, squares);
    });
    lane_sums<kTileThreads>(lanes, room, value);
    if (lanes.own > 0 || row >= arguments.rows) return;
    arguments.stats[2 * row] = static_cast<float>(mean);
    arguments.stats[2 * row + 1] = static_cast<float>(value[0] / total);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    fold_moments(const __grid_constant__ genfuse::FoldMomentsArguments arguments) {
    genfuse::fold_moments(arguments);
}
#endif
