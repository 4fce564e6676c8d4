// The kernels of norms on the host; `emulated/conftest.py` calls them.
#include "tiled.h"
// after it
#include "conv_norm_act/cuda_channel_table.cu"
#include "conv_norm_act/cuda_gradient_sums.cu"
#include "conv_norm_act/cuda_pixel_sums.cu"
#include "conv_norm_act/cuda_pixel_table.cu"
#include "conv_norm_act/cuda_read_gradient.cu"
#include "conv_norm_act/cuda_summed_gradient.cu"

namespace {

template <class Stored, genfuse::Order, class>
struct ChannelTable {
    static void run(const void* arguments) {
        genfuse::channel_table<Stored>(*static_cast<const genfuse::ChannelTableArguments*>(arguments));
    }
};

template <class Stored, genfuse::Order order, class Index>
struct PixelTable {
    static void run(const void* arguments) {
        genfuse::pixel_table<Stored, order, Index>(
            *static_cast<const genfuse::PixelTableArguments*>(arguments));
    }
};

template <class Stored, genfuse::Order order, class Index>
struct GradientSums {
    static void run(const void* arguments) {
        genfuse::gradient_sums<Stored, order, Index>(
            *static_cast<const genfuse::GradientArguments*>(arguments));
    }
};

template <class Stored, genfuse::Order order, class Index>
struct ReadGradient {
    static void run(const void* arguments) {
        genfuse::gradient_pass<false, true, Stored, order, Index>(
            *static_cast<const genfuse::GradientArguments*>(arguments), nullptr);
    }
};

template <class Stored, genfuse::Order order, class Index>
struct SummedGradient {
    static void run(const void* arguments) {
        genfuse::summed_gradient<Stored, order, Index>(
            *static_cast<const genfuse::GradientArguments*>(arguments));
    }
};

template <class Stored, genfuse::Order order, class Index>
struct PixelSums {
    static void run(const void* arguments) {
        genfuse::pixel_sums<Stored, order, Index>(
            *static_cast<const genfuse::PixelSumsArguments*>(arguments));
    }
};

}  // namespace

EMULATED_TILED(channel_table, ChannelTable, genfuse::ChannelTableArguments)
EMULATED_TILED(pixel_table, PixelTable, genfuse::PixelTableArguments)
EMULATED_TILED(gradient_sums, GradientSums, genfuse::GradientArguments)
EMULATED_TILED(read_gradient, ReadGradient, genfuse::GradientArguments)
EMULATED_TILED(summed_gradient, SummedGradient, genfuse::GradientArguments)
EMULATED_TILED(pixel_sums, PixelSums, genfuse::PixelSumsArguments)
