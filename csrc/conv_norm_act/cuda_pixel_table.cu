// Mean and rstd of each pixel over its channels, (N, H·W, 2) float32.
#include "common/cuda/column.h"
#include "common/cuda/moments.h"
#include "common/cuda/shared.h"

namespace genfuse {

// As conv_norm_act/cuda_norm.py fills it, eight bytes a field.
struct PixelTableArguments {
    float* table;
    Operand x, skip;  // the second may be absent
    int64 channels, skip_channels;
    int64 rms;  // about 0, not about the mean
    double eps;
    Columns columns;
};

template <class Stored, Order order, class Index>
class PixelMoments {
    using Of = Access<Stored, order>;
    using Elements = Packed<Stored, Of::numel>;
    const Column<Stored, order, Index>& column_;
    double* const room_;
    double count_ = 0;
    Moments so_far_[Of::positions] = {};

  public:
    __device__ PixelMoments(const Column<Stored, order, Index>& column, double* room)
        : column_(column), room_(room) {}

    // Joined with those of an image: as many channels at a time as make a piece of a thread's.
    __device__ void join(const Operand& image, int channels) {
        constexpr int accesses = 4 * kAccesses * Of::channels > 64 ? 2 * kAccesses : 4 * kAccesses;
        const int round = accesses * column_.stride();
        for (int begin = 0; begin < channels; begin += round) {
            const int end = min(begin + round, channels);
            Piece<Of::positions> piece;
            for (int start = begin; start < end; start += kAtOnce * column_.stride()) {
                add(image, start, end, &piece);
            }
            const double count = end - begin;
            Moments found[Of::positions];
            piece.template moments<kTileThreads>(column_.lanes, count, room_, found);
#pragma unroll
            for (int p = 0; p < Of::positions; ++p) {
                so_far_[p] = merged(count_, so_far_[p], count, found[p]);
            }
            count_ += count;
        }
    }

    __device__ void store(const PixelTableArguments& arguments) const {
        if (column_.lanes.own > 0 || column_.position >= column_.positions) return;
        float* const to = arguments.table + 2 * (column_.sample * column_.positions + column_.position);
#pragma unroll
        for (int p = 0; p < Of::positions; ++p) {
            const double mean = so_far_[p].mean, about_mean = so_far_[p].squares / count_;
            const double variance = arguments.rms ? fused(mean, mean, about_mean) : about_mean;
            to[2 * p] = arguments.rms ? 0 : static_cast<float>(mean);
            to[2 * p + 1] = reciprocal_deviation(variance, static_cast<float>(arguments.eps));
        }
    }

  private:
    __device__ void add(const Operand& image, int start, int end, Piece<Of::positions>* piece) const {
        Elements x[kAtOnce];
        const auto channel = [&](int i) { return start + column_.first() + i * column_.stride(); };
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            x[i] = {};
            if (channel(i) < end && column_.position < column_.positions) {
                x[i] = load_packed<Stored, Of::numel>(column_.address(image, static_cast<Index>(channel(i))));
            }
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            if (channel(i) >= end) continue;
            float value[Of::numel];
            x[i].widen_to(value);
            piece->add(value);
        }
    }
};

template <class Stored, Order order, class Index>
__device__ void pixel_table(const PixelTableArguments& arguments) {
    using Of = Access<Stored, order>;
    GENFUSE_SHARED(double, room, Of::positions* kTileThreads);
    const Column<Stored, order, Index> column(arguments.columns);
    PixelMoments<Stored, order, Index> moments(column, room);
    moments.join(arguments.x, static_cast<int>(arguments.channels));
    if (arguments.skip.data) moments.join(arguments.skip, static_cast<int>(arguments.skip_channels));
    moments.store(arguments);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
// One block a multiprocessor is enough: of half precision's rows it needs a few registers more than two have.
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 1)
    pixel_table(const __grid_constant__ genfuse::PixelTableArguments arguments) {
    using namespace genfuse;
    genfuse::pixel_table<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
