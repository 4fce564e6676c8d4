// Mean and squared deviations. A thread sums about the mean of the first numbers that it sees, in float32;
// threads meet in double, about the mean of them all, so that a mean far larger than the deviation cancels
// nothing.
#pragma once

#include "common/cuda/fused.h"
#include "common/cuda/lanes.h"

namespace genfuse {

// Mean and squared deviations from it.
struct Moments {
    double mean, squares;
};

// The numbers of a thread, of `Rows` rows: 64 of each at most (norm_stats/spec.py's PIECE), 4 or more at a
// time, so that what they are taken about is at most some deviations away from their mean.
template <int Rows>
class Piece {
    float origin_[Rows] = {}, sum_[Rows] = {}, square_[Rows] = {};
    int count_ = 0;  // of each row

  public:
    // Accesses of a number of each row, or of several of the only one; those whose bit is set.
    template <int Accesses, int Count>
    __device__ void add(const float (&value)[Accesses][Count], uint32 exist) {
        static_assert(Rows == 1 || Rows == Count, "of each row as many");
        int count = 0;
#pragma unroll
        for (int i = 0; i < Accesses; ++i) count += (exist >> i & 1) * (Count / Rows);
        if (count_ == 0 && count > 0) {
            const float share = 1.0f / static_cast<float>(count);
            each(value, exist,
                 [&](int row, float number) { origin_[row] = fused(share, number, origin_[row]); });
        }
        each(value, exist, [&](int row, float number) {
            const float off = number - origin_[row];
            sum_[row] += off;
            square_[row] = fused(off, off, square_[row]);
        });
        count_ += count;
    }

    // Of the `total` numbers of all lanes; called by all threads of the block.
    template <int Threads>
    __device__ void moments(const Lanes& lanes, double total, double* room, Moments (&found)[Rows]) const {
        const double count = count_;
        double value[Rows];
#pragma unroll
        for (int r = 0; r < Rows; ++r)
            value[r] = count * static_cast<double>(origin_[r]) + static_cast<double>(sum_[r]);
        lane_sums<Threads>(lanes, room, value);
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            found[r].mean = value[r] / total;
            const double off = static_cast<double>(origin_[r]) - found[r].mean;
            const double twice = fused(count, off, 2.0 * static_cast<double>(sum_[r]));
            value[r] = count_ == 0 ? 0 : fused(off, twice, static_cast<double>(square_[r]));
        }
        lane_sums<Threads>(lanes, room, value);
        // Roundings of what is 0 may be negative; NaN stays.
#pragma unroll
        for (int r = 0; r < Rows; ++r) found[r].squares = value[r] < 0 ? 0 : value[r];
    }

  private:
    template <int Accesses, int Count, class Use>
    __device__ static void each(const float (&value)[Accesses][Count], uint32 exist, Use use) {
#pragma unroll
        for (int i = 0; i < Accesses; ++i) {
            if (exist >> i & 1) {
#pragma unroll
                for (int j = 0; j < Count; ++j) use(Rows == 1 ? 0 : j, value[i][j]);
            }
        }
    }
};

// 1/√(variance + eps); NaN, and not 0, where the squares have left float32.
__device__ inline float reciprocal_deviation(double variance, float eps) {
    const float rounded = static_cast<float>(variance);
    return rounded > 3.402823466e38f ? __int_as_float(0x7FFFFFFF) : 1.0f / sqrtf(rounded + eps);
}

}  // namespace genfuse
