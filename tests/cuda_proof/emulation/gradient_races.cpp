// The kernels of the convolution's gradients on grids of a few blocks, for ThreadSanitizer: `races PRODUCT
// THREAD_ORDER`. The weights' of a 3x3 convolution that is normalised and activated, then the data's with the
// sums that the norm needs.
#include <stdio.h>

#include <vector>

#include "conv_values.h"
// after it
#include "conv_norm_act/cuda_data_gradient.cu"
#include "conv_norm_act/cuda_fold_weights.cu"
#include "conv_norm_act/cuda_weight_gradient.cu"

namespace {

template <class Stored, Precision precision>
void run_weights(const void* arguments) {
    GENFUSE_DYNAMIC_SHARED(shared);
    WeightGradient<Stored, kChannelsLast, int, WeightTile<Stored, 2, 3, 3>, precision>(
        *static_cast<const WeightGradientArguments*>(arguments), shared)
        .run();
}

template <class Stored, Precision precision>
void run_data(const void* arguments) {
    GENFUSE_DYNAMIC_SHARED(shared);
    data_gradient<Stored, kChannelsLast, int, 64, 64, precision>(
        *static_cast<const DataGradientArguments*>(arguments), shared);
}

void run_fold(const void* arguments) {
    fold_weights(*static_cast<const FoldWeightsArguments*>(arguments));
}

// Of 8 x 8 pixels in four tiles, two a span.
template <class Stored, Precision precision>
double weights(emulation::ThreadOrder threads, const ConvArguments& made, const Values<Stored>& x,
               const Values<Stored>& gradient, const Values<float>& norm) {
    using Tile = WeightTile<Stored, 2, 3, 3>;
    constexpr int kRow = (kChannels + Tile::kInputs - 1) / Tile::kInputs * Tile::kInputs;
    const Values<float> partial(2 * kChannels * 9 * kRow), out(kChannels * kChannels * 9);
    constexpr int kParts = 4 * Tile::kWarpColumns;
    const Values<float> of_tiles(kParts * kChannels), sums(kChannels);
    WeightGradientArguments of{};
    of.of = made;
    of.of.source[0] = source(x, x, 3);
    of.of.source[0].norm = norm.data();
    of.of.source[0].activation = GENFUSE_SILU;
    of.of.source[0].ring = of.chunks = 1;
    of.of.source[1] = source(gradient, gradient, 1);
    of.of.source[1].ring = Tile::kDense;
    of.of.output_blocks = 1;
    of.partial = partial.data();
    of.row = kRow;
    of.splits = of.span = 2;
    of.tiles = 4;
    of.taps = 9;
    of.tap_blocks = 1;
    of.chunk_blocks = kRow / Tile::kInputs;
    of.sums = of_tiles.data();
    const size_t words = 64 * Tile::kDense + 100;
    emulation::launch(static_cast<unsigned>(2 * of.chunk_blocks), Tile::kThreads, threads,
                      run_weights<Stored, precision>, &of, 16 + 2 * (words * 64 + 164 * sizeof(HaloPixel)));
    FoldWeightsArguments fold{};
    fold.out = out.data();
    fold.partial = partial.data();
    fold.splits = 2;
    fold.numel = kChannels * 9 * kRow;
    fold.taps = 9;
    fold.inputs = fold.channels = fold.count = kChannels;
    fold.row = kRow;
    fold.sums = sums.data();
    fold.of_tiles = of_tiles.data();
    fold.parts = kParts;
    fold.samples = 1;
    constexpr int kFolds = (kChannels * 9 * kRow + 4 * kTileThreads - 1) / (4 * kTileThreads);
    emulation::launch(kFolds + kChannels / kSumLanes, kTileThreads, threads, run_fold, &fold);
    return out.sum() + sums.sum();
}

template <class Stored, Precision precision>
double data(emulation::ThreadOrder threads, const ConvArguments& made, const Values<Stored>& x,
            const Values<Stored>& gradient, const Values<float>& norm) {
    const Values<Stored> kernel(9 * kChannels * kChannels), out(kPixels * kChannels);
    std::vector<double> sums(2 * 4 * kChannels);
    DataGradientArguments of{};
    of.of = made;
    of.of.out = out.image();
    of.of.sources = of.of.output_blocks = of.of.segments = 1;
    of.of.blocks = 4;
    of.of.source[0] = source(gradient, kernel, 3);
    of.of.source[0].span = kChannels;
    of.read.x = x.image();
    of.read.norm = norm.data();
    of.read.activation = GENFUSE_SILU;
    of.read.x_channels = kChannels;
    of.read.sums = sums.data();
    of.read.parts = 4;
    using Sizes = ConvTile<Stored, 64, 64>;
    const size_t shared = 3 * 64 * 64 + 2 * 100 * 64 + 100 * sizeof(HaloPixel);
    const size_t of_sums = 64 * Sizes::kSumsRow * sizeof(float);
    emulation::launch(4, Sizes::kThreads, threads, run_data<Stored, precision>, &of,
                      shared > of_sums ? shared : of_sums);
    double total = out.sum();
    for (double sum : sums) total += sum;
    return total;
}

template <class Stored, Precision precision>
void check(emulation::ThreadOrder threads) {
    const Values<Stored> x(kPixels * kChannels), gradient(kPixels * kChannels);
    const Values<float> norm(4 * kChannels);
    ConvArguments made{};
    made.rows = made.columns = {kSide, 3, 2, 0, 1};
    made.batch = made.samples = 1;
    made.outputs = made.all_outputs = kChannels;
    made.slope = 0.2;
    made.scale = 1;
    printf("%.9g ", weights<Stored, precision>(threads, made, x, gradient, norm));
    printf("%.9g\n", data<Stored, precision>(threads, made, x, gradient, norm));
}

}  // namespace

int main(int, char** arguments) {
    const auto threads = static_cast<emulation::ThreadOrder>(atoi(arguments[2]));
    switch (atoi(arguments[1])) {
        case 0:
            check<bfloat16, kOneProduct>(threads);
            break;
        case 1:
            check<float, kThreeProducts>(threads);
            break;
        default:
            check<float, kFused>(threads);
    }
}
