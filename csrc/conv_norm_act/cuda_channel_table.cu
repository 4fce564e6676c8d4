// What a norm over space comes to at each channel, (N, C, 4): mean, rstd, scale and offset
// (conv_norm_act/norm_table.py). Some threads of a warp take what is normalised together, a set of channels.
#include "common/cuda/block.h"
#include "common/cuda/moments.h"

namespace genfuse {

// A parameter, element (n, c) at n·batch + c·channel; `data` null: absent. float32 where `wide`, else stored
// as x.
struct Parameter {
    const void* data;
    int64 batch, channel, wide;
};

// As conv_norm_act/cuda_norm.py fills it, eight bytes a field. Set s begins at row s·set_stride, its members
// are member_stride rows apart.
struct ChannelTableArguments {
    float* table;
    const float* stats;  // (N, C, 2) of each channel over space; null: `mean` and `var`, where there are such
    Parameter mean, var;  // of each channel
    Parameter weight, bias, film_scale, film_shift;
    int64 channels, sets, members, set_stride, member_stride;
    int64 lanes;  // threads of a set, a power of two up to a warp
    double eps;
};

template <class Stored>
__device__ float read(const Parameter& parameter, int64 sample, int64 channel, float absent) {
    if (!parameter.data) return absent;
    const int64 at = sample * parameter.batch + channel * parameter.channel;
    return parameter.wide ? static_cast<const float*>(parameter.data)[at]
                          : widen(static_cast<const Stored*>(parameter.data)[at]);
}

// Called by whole warps.
__device__ inline double sum_over(int lanes, double value) {
    for (int apart = lanes / 2; apart > 0; apart /= 2) value += __shfl_xor_sync(kAllLanes, value, apart);
    return value;
}

// Of a set's channels, which all have as many values. Called by whole warps.
template <class Rows>
__device__ Moments set_moments(const float* stats, int64 members, int lanes, Rows rows) {
    double sum = 0, squares = 0;
    rows([&](int64 row) { sum += static_cast<double>(stats[2 * row]); });
    const double mean = sum_over(lanes, sum) / static_cast<double>(members);
    rows([&](int64 row) {
        const double apart = static_cast<double>(stats[2 * row]) - mean;
        squares += fused(apart, apart, static_cast<double>(stats[2 * row + 1]));
    });
    return {mean, sum_over(lanes, squares)};
}

template <class Stored>
__device__ void channel_table(const ChannelTableArguments& a) {
    const int lanes = static_cast<int>(a.lanes);
    const int64 set = (static_cast<int64>(blockIdx.x) * kTileThreads + threadIdx.x) / lanes;
    const int64 first = static_cast<int64>(threadIdx.x) % lanes, members = set < a.sets ? a.members : 0;
    const float eps = static_cast<float>(a.eps);
    const auto rows = [&](auto use) {
        for (int64 m = first; m < members; m += lanes) use(set * a.set_stride + m * a.member_stride);
    };
    float mean = 0, rstd = 1;
    if (a.stats) {
        const Moments found = set_moments(a.stats, a.members, lanes, rows);
        mean = static_cast<float>(found.mean);
        rstd = reciprocal_deviation(found.squares / static_cast<double>(a.members), eps);
    }
    rows([&](int64 row) {
        const int64 sample = row / a.channels, channel = row - sample * a.channels;
        if (a.mean.data) {
            mean = read<Stored>(a.mean, sample, channel, 0);
            rstd = reciprocal_deviation(static_cast<double>(read<Stored>(a.var, sample, channel, 1)), eps);
        }
        const float film = 1 + read<Stored>(a.film_scale, sample, channel, 0);
        const float of_row[4] = {mean, rstd, film * read<Stored>(a.weight, sample, channel, 1),
                                 fused(film, read<Stored>(a.bias, sample, channel, 0),
                                       read<Stored>(a.film_shift, sample, channel, 0))};
        store_packed(of_row, a.table + 4 * row);
    });
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kTileThreads, 2)
    channel_table(const __grid_constant__ genfuse::ChannelTableArguments arguments) {
    using namespace genfuse;
    genfuse::channel_table<GENFUSE_STORED>(arguments);
}
#endif
