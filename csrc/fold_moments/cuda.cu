// Mean and variance of rows from the moments that blocks found of parts of them, merged in the same order
// always (Chan, Golub & LeVeque 1979).
#include "common/cuda/moments.h"
#include "common/cuda/shared.h"

namespace genfuse {

constexpr int kFoldRows = 8;  // of a block; the threads of one are as far apart

// As common/cuda_moments.py fills it, eight bytes a field.
struct FoldMomentsArguments {
    float* stats;           // (rows, 2)
    const double* moments;  // (3, parts, rows): count, mean and squared deviations; a count may be 0
    int64 parts, rows;
};

__device__ inline void fold_moments(const FoldMomentsArguments& of) {
    GENFUSE_SHARED(double, room, 2 * kTileThreads);
    const int thread = static_cast<int>(threadIdx.x);
    const Lanes lanes{kTileThreads / kFoldRows, kFoldRows, thread / kFoldRows};
    const int64 row = static_cast<int64>(blockIdx.x) * kFoldRows + thread % kFoldRows;
    const int parts = row < of.rows ? static_cast<int>(of.parts) : 0;
    const int64 plane = of.parts * of.rows;
    const auto each = [&](auto use) {
        for (int part = lanes.own; part < parts; part += lanes.count) {
            const double* const at = of.moments + part * of.rows + row;
            use(at[0], at[plane], at[2 * plane]);
        }
    };
    double sum[2] = {};  // of counts and values
    each([&](double count, double mean, double) {
        sum[0] += count;
        sum[1] = fused(count, mean, sum[1]);
    });
    lane_sums<kTileThreads>(lanes, room, sum);
    const double mean = sum[1] / sum[0];
    double squares[1] = {};
    each([&](double count, double of_part, double squares_of_part) {
        const double off = of_part - mean;
        squares[0] += fused(count * off, off, squares_of_part);
    });
    lane_sums<kTileThreads>(lanes, room, squares);
    if (lanes.own > 0 || row >= of.rows) return;
    of.stats[2 * row] = static_cast<float>(mean);
    of.stats[2 * row + 1] = static_cast<float>(squares[0] / sum[0]);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    fold_moments(const __grid_constant__ genfuse::FoldMomentsArguments arguments) {
    genfuse::fold_moments(arguments);
}
#endif
