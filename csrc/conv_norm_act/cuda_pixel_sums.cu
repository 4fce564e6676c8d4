// Σa·g and Σa·g·x̂ of each pixel over its channels, over their number: (N, H·W, 2) float32.
#include "common/cuda/column.h"
#include "common/cuda/shared.h"
#include "conv_norm_act/cuda_gradient.h"

namespace genfuse {

// As conv_norm_act/cuda_norm_gradient.py fills it, eight bytes a field.
struct PixelSumsArguments {
    float* means;
    Operand x, gradient, skip, skip_gradient;  // the last two may be absent
    int64 channels, skip_channels;
    TableArguments table;
    DropoutArguments dropout;
    double slope;
    int64 activation;
    Columns columns;
};

template <class Stored, Order order, class Index>
class PixelSums {
    using Of = Access<Stored, order>;
    using Elements = Packed<Stored, Of::numel>;
    const PixelSumsArguments& arguments_;
    const Column<Stored, order, Index> column_;
    const int64 first_pixel_;
    const bool exists_;
    const PixelRows<Of> pixel_;

  public:
    __device__ explicit PixelSums(const PixelSumsArguments& arguments)
        : arguments_(arguments),
          column_(arguments.columns),
          first_pixel_(column_.sample * column_.positions + column_.position),
          exists_(column_.position < column_.positions),
          pixel_(exists_ ? arguments.table.pixels : nullptr, first_pixel_) {}

    __device__ void run(double* room) const {
        double plain[Of::positions] = {}, weighted[Of::positions] = {};
        const int channels = static_cast<int>(arguments_.channels);
        add(arguments_.x, arguments_.gradient, channels, 0, plain, weighted);
        if (arguments_.skip.data) {
            add(arguments_.skip, arguments_.skip_gradient, static_cast<int>(arguments_.skip_channels),
                channels, plain, weighted);
        }
        lane_sums<kTileThreads>(column_.lanes, room, plain);
        lane_sums<kTileThreads>(column_.lanes, room, weighted);
        if (column_.lanes.own > 0 || !exists_) return;
        const double share = 1.0 / static_cast<double>(arguments_.channels + arguments_.skip_channels);
#pragma unroll
        for (int p = 0; p < Of::positions; ++p) {
            arguments_.means[2 * (first_pixel_ + p)] = static_cast<float>(plain[p] * share);
            arguments_.means[2 * (first_pixel_ + p) + 1] = static_cast<float>(weighted[p] * share);
        }
    }

  private:
    // In float32 what a thread reads at once; in double beyond.
    __device__ void add(const Operand& image, const Operand& gradient, int channels, int first_channel,
                        double (&plain)[Of::positions], double (&weighted)[Of::positions]) const {
#pragma unroll 1
        for (int start = 0; start < channels; start += kAtOnce * column_.stride()) {
            Elements x[kAtOnce], g[kAtOnce];
            const auto channel = [&](int i) { return start + column_.first() + i * column_.stride(); };
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                x[i] = g[i] = {};
                if (channel(i) < channels && exists_) {
                    const Index at = static_cast<Index>(channel(i));
                    x[i] = load_packed<Stored, Of::numel>(column_.address(image, at));
                    g[i] = load_packed<Stored, Of::numel>(column_.address(gradient, at));
                }
            }
            float sum[Of::positions] = {}, product[Of::positions] = {};
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                if (channel(i) < channels && exists_)
                    add(x[i], g[i], first_channel + channel(i), sum, product);
            }
#pragma unroll
            for (int p = 0; p < Of::positions; ++p) {
                plain[p] += static_cast<double>(sum[p]);
                weighted[p] += static_cast<double>(product[p]);
            }
        }
    }

    __device__ void add(const Elements& x, const Elements& gradient, int64 channel,
                        float (&sum)[Of::positions], float (&product)[Of::positions]) const {
        TableArguments table = arguments_.table;
        table.first_channel = 0;
        const TableRows<Of::channels> rows(table, column_.sample, channel, true);
        Differentiated<Of::numel> of(x, gradient, true, rows, true, pixel_,
                                     static_cast<int>(arguments_.activation),
                                     static_cast<float>(arguments_.slope));
        if (arguments_.dropout.seeds) {
            drop(arguments_.dropout,
                 Mask(arguments_.dropout, column_.sample)
                     .template of_access<Stored, order>(channel, column_.position, column_.positions),
                 of.g);
        }
#pragma unroll
        for (int j = 0; j < Of::numel; ++j) {
            const int p = Of::positions == 1 ? 0 : j;
            const float value = of.g[j] * of.scale[j];
            sum[p] += value;
            product[p] = fused(value, of.standardised[j], product[p]);
        }
    }
};

template <class Stored, Order order, class Index>
__device__ void pixel_sums(const PixelSumsArguments& arguments) {
    GENFUSE_SHARED(double, room, (Access<Stored, order>::positions * kTileThreads));
    PixelSums<Stored, order, Index>(arguments).run(room);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    pixel_sums(const __grid_constant__ genfuse::PixelSumsArguments arguments) {
    using namespace genfuse;
    genfuse::pixel_sums<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
