// The kernels that walk over tiles, on grids of a few blocks: `tiled_races ORDER THREAD_ORDER`, for the
// sanitizers.
#include <stdio.h>
#include <stdlib.h>

#include "cuda.h"
// after it
#include "conv_norm_act/cuda_channel_table.cu"
#include "conv_norm_act/cuda_gradient_sums.cu"
#include "conv_norm_act/cuda_pixel_sums.cu"
#include "conv_norm_act/cuda_pixel_table.cu"
#include "conv_norm_act/cuda_read_gradient.cu"
#include "conv_norm_act/cuda_summed_gradient.cu"
#include "fold_moments/cuda.cu"
#include "norm_act/cuda_measured_act.cu"
#include "norm_stats/cuda.cu"

namespace {

using namespace genfuse;

constexpr int kSamples = 2, kChannels = 8, kPositions = 132;
constexpr int kRowCount = kSamples * kChannels, kPixels = kSamples * kPositions;

// Memory without room to spare on either side.
template <class T>
class Memory {
  public:
    explicit Memory(int count)
        : count_(count), values_(static_cast<T*>(aligned_alloc(16, sizeof(T) * count))) {
        for (int i = 0; i < count; ++i) values_[i] = static_cast<T>(i % 11) - 5;
    }
    ~Memory() { free(values_); }
    Memory(const Memory&) = delete;

    T* get() const { return values_; }
    void print() const {
        double total = 0;
        for (int i = 0; i < count_; ++i) total += static_cast<double>(values_[i]) * (1 + i % 7);
        printf("%.17g ", total);
    }

  private:
    const int count_;
    T* const values_;
};

// Two blocks share each channel, many threads a channel or a pixel; the last chunk is not whole.
Tile tile_of(Order order) {
    switch (order) {
        case kRows:
            return {kChannels, kPositions, 8, 1, 1, 2, 128};
        case kChannelsLast:
            return {kChannels, kPositions, 32, 8, 1, 2, 128};
        default:
            return {kChannels, kPositions, 32, 1, 1, 2, 128};
    }
}

Columns columns_of(Order order) {
    switch (order) {
        case kRows:
            return {kPositions, 8, 32, 2};
        case kChannelsLast:
            return {kPositions, 2, 1, 2};
        default:
            return {kPositions, 8, 32, 5};
    }
}

using Kernel = void (*)(const void*);

template <class Arguments, void kernel(const Arguments&)>
void run(const void* arguments) {
    kernel(*static_cast<const Arguments*>(arguments));
}

template <Order order>
void write_only(const GradientArguments& arguments) {
    gradient_pass<false, true, float, order, int>(arguments, nullptr);
}

template <Order order>
void check(emulation::ThreadOrder threads) {
    const auto launch = [&](int64 blocks, Kernel kernel, const void* arguments) {
        emulation::launch(static_cast<unsigned>(blocks), kTileThreads, threads, kernel, arguments);
    };
    const Tile tile = tile_of(order);
    const Columns columns = columns_of(order);
    const int64 blocks = kSamples * tile.channel_blocks * tile.splits,
                pixel_blocks = kSamples * columns.blocks;
    const int parts = static_cast<int>(tile.splits) * kRowCount;
    const Memory<float> x(kRowCount * kPositions), y(kRowCount * kPositions), out(kRowCount * kPositions);
    const Memory<float> stats(2 * kRowCount), table(4 * kRowCount), pixels(2 * kPixels), means(2 * kPixels);
    const Memory<double> moments(3 * parts), sums(2 * parts);
    const int64 seeds[kSamples] = {3, -5};
    const auto operand = [&](const Memory<float>& of) {
        const bool last = order == kChannelsLast;
        return Operand{of.get(), kChannels * kPositions, last ? 1 : kPositions, last ? kChannels : 1};
    };
    const DropoutArguments dropout{seeds, 1, 1 << 21, 1.5};
    const StatsArguments to{stats.get(), moments.get(), tile.splits, kRowCount};

    const NormStatsArguments measured{to, operand(x), tile};
    launch(blocks, run<NormStatsArguments, norm_stats<float, order, int>>, &measured);
    const FoldMomentsArguments fold{stats.get(), moments.get(), tile.splits, kRowCount};
    launch((kRowCount + kFoldRows - 1) / kFoldRows, run<FoldMomentsArguments, fold_moments>, &fold);
    ChannelTableArguments of_table{};  // groups of four channels
    of_table.table = table.get();
    of_table.stats = stats.get();
    of_table.channels = kChannels;
    of_table.sets = kRowCount / 4;
    of_table.members = of_table.set_stride = of_table.lanes = 4;
    of_table.member_stride = 1;
    launch(1, run<ChannelTableArguments, channel_table<float>>, &of_table);
    const PixelTableArguments of_pixels{pixels.get(), operand(x), operand(y), kChannels,
                                        kChannels,    0,          1e-5,       columns};
    launch(pixel_blocks, run<PixelTableArguments, pixel_table<float, order, int>>, &of_pixels);

    const TableArguments of_norm{table.get(), nullptr, kChannels, 0};
    const NormActArguments act{to,  operand(out), operand(x),   operand(y), of_norm,    dropout,    0.1,
                               0.5, GENFUSE_SILU, GENFUSE_TANH, kPositions, kPositions, kPositions, 1,
                               1,   tile};
    launch(blocks, run<NormActArguments, measured_act<float, order, int>>, &act);
    out.print();

    GradientArguments gradient{sums.get(), kSamples, operand(out), operand(y),   operand(x), of_norm,
                               nullptr,    dropout,  0.1,          GENFUSE_SILU, 0,          tile};
    launch(blocks, run<GradientArguments, gradient_sums<float, order, int>>, &gradient);
    sums.print();
    gradient.means = stats.get();
    launch(blocks, run<GradientArguments, write_only<order>>, &gradient);
    out.print();
    const TableArguments of_pixel_norm{table.get(), pixels.get(), kChannels, 0};
    const PixelSumsArguments of_sums{means.get(),  operand(x), operand(y),    Operand{}, Operand{},
                                     kChannels,    0,          of_pixel_norm, dropout,   0.1,
                                     GENFUSE_SILU, columns};
    launch(pixel_blocks, run<PixelSumsArguments, pixel_sums<float, order, int>>, &of_sums);
    gradient.table = of_pixel_norm;
    gradient.means = means.get();
    launch(blocks, run<GradientArguments, summed_gradient<float, order, int>>, &gradient);
    out.print(), stats.print(), table.print(), pixels.print(), means.print();
    sums.print();
    printf("\n");
}

}  // namespace

int main(int, char** arguments) {
    const auto threads = static_cast<emulation::ThreadOrder>(atoi(arguments[2]));
    switch (atoi(arguments[1])) {
        case 0:
            check<kRows>(threads);
            break;
        case 1:
            check<kChannelsLast>(threads);
            break;
        default:
            check<kPlanes>(threads);
    }
}
