// The kernels of norms on the host; `emulated/conftest.py` calls them.
#include "tiled.h"
// after it
#include "conv_norm_act/cuda_channel_table.cu"
#include "conv_norm_act/cuda_pixel_table.cu"

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

}  // namespace

EMULATED_TILED(channel_table, ChannelTable, genfuse::ChannelTableArguments)
EMULATED_TILED(pixel_table, PixelTable, genfuse::PixelTableArguments)
