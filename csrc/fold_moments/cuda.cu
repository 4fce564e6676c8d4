// Mean and variance of rows from parts of them, merged one after the other (Chan, Golub & LeVeque 1979); a
// thread a row.
#include "common/cuda/walk.h"

namespace genfuse {

// As common/cuda_moments.py fills it, eight bytes a field.
struct FoldMomentsArguments {
    float* stats;           // (rows, 2)
    const double* moments;  // (3, parts, rows): count, mean and squared deviations; a count may be 0
    int64 parts, rows;
};

__device__ inline void fold_moments(const FoldMomentsArguments& of) {
    const int64 row = static_cast<int64>(blockIdx.x) * kThreads + threadIdx.x;
    if (row >= of.rows) return;
    double count = 0, mean = 0, squares = 0;
    for (int64 part = 0; part < of.parts; ++part) {
        const double* const at = of.moments + part * of.rows + row;
        const double more = at[0];
        if (more == 0) continue;
        const double apart = at[of.parts * of.rows] - mean, share = more / (count + more);
        squares += at[2 * of.parts * of.rows] + apart * apart * (count * share);
        mean += apart * share;
        count += more;
    }
    of.stats[2 * row] = static_cast<float>(mean);
    of.stats[2 * row + 1] = static_cast<float>(squares / count);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kThreads)
    fold_moments(const __grid_constant__ genfuse::FoldMomentsArguments arguments) {
    genfuse::fold_moments(arguments);
}
#endif
