// Mean and squared deviations. A thread sums about the mean of the first numbers that it sees, in float32;
// threads meet in double, about the mean of them all, so that a mean far larger than the deviation cancels
// nothing.
#pragma once

#include "common/cuda/fused.h"
#include "common/cuda/tile.h"

namespace genfuse {

// Mean and squared deviations from it.
struct Moments {
    double mean, squares;
};

// Of both sets (Chan, Golub & LeVeque 1979); the first may be empty.
__device__ inline Moments merged(double count, const Moments& a, double count_b, const Moments& b) {
    const double share = count_b / (count + count_b), apart = b.mean - a.mean;
    return {fused(apart, share, a.mean), a.squares + fused(apart * apart, count * share, b.squares)};
}

// The numbers of a thread, of `Rows` rows: 64 of each at most (norm_stats/spec.py's PIECE), a quarter of them
// in the first `kAccesses` accesses, so that what they are taken about is at most two deviations from their
// mean.
template <int Rows>
class Piece {
    float origin_[Rows] = {}, sum_[Rows] = {}, square_[Rows] = {};
    int count_ = 0, accesses_ = 0;  // numbers of each row

  public:
    // A number of each row, or several of the only one.
    template <int Count>
    __device__ void add(const float (&value)[Count]) {
        static_assert(Rows == 1 || Rows == Count, "of each row as many");
        if (accesses_ == 0) {
#pragma unroll
            for (int r = 0; r < Rows; ++r) origin_[r] = value[r];
        }
#pragma unroll
        for (int j = 0; j < Count; ++j) {
            const int r = Rows == 1 ? 0 : j;
            const float off = value[j] - origin_[r];
            sum_[r] += off;
            square_[r] = fused(off, off, square_[r]);
        }
        count_ += Count / Rows;
        ++accesses_;
        if (accesses_ == 1 || accesses_ == kAccesses) centre();
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
    // From here on about the mean of what is there.
    __device__ void centre() {
        const float count = static_cast<float>(count_), share = 1.0f / count;
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            const float centred = fused(sum_[r], share, origin_[r]), by = centred - origin_[r];
            const float sum = fused(-count, by, sum_[r]);
            square_[r] = fused(-by, sum_[r] + sum, square_[r]);  // Σ(o − by)² = Σo² − by·(Σo + Σ(o − by))
            sum_[r] = sum;
            origin_[r] = centred;
        }
    }
};

// 1/√(variance + eps); NaN, and not 0, where the squares have left float32.
__device__ inline float reciprocal_deviation(double variance, float eps) {
    const float rounded = static_cast<float>(variance);
    return rounded > 3.402823466e38f ? __int_as_float(0x7FFFFFFF) : 1.0f / sqrtf(rounded + eps);
}

}  // namespace genfuse
