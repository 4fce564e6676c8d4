// conv_norm_act's kernel on a grid of a few blocks, for ThreadSanitizer: `races PRODUCT THREAD_ORDER`. A 3x3
// convolution, normalised and activated, with a projected residual and statistics: whole sums, sums of two
// segments in one block, and of two in blocks of their own.
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "conv_values.h"
// after it
#include "conv_norm_act/cuda.cu"

namespace {

template <class Stored, int Pixels, Precision precision>
void run(const void* arguments) {
    GENFUSE_DYNAMIC_SHARED(shared);
    conv_norm_act<Stored, kChannelsLast, int, Pixels, 64, precision>(
        *static_cast<const ConvArguments*>(arguments), shared);
}

template <class Stored, int Pixels, Precision precision>
void check(emulation::ThreadOrder threads) {
    const Values<Stored> x(kPixels * kChannels), out(kPixels * kChannels), residual(kPixels * kChannels);
    const Values<Stored> weights(9 * kChannels * kChannels), projection(kChannels * kChannels);
    const Values<float> norm(4 * kChannels);
    std::vector<double> moments(3 * 8 * kChannels);
    ConvArguments of{};
    of.out = out.image();
    of.moments = moments.data();
    of.parts = 8;
    of.sources = 2;
    of.source[0] = source(x, weights, 3);
    of.source[0].norm = norm.data();
    of.source[0].activation = GENFUSE_SILU;
    of.source[1] = source(residual, projection, 1);
    of.rows = of.columns = {kSide, 3, 2, 0, 1};
    of.batch = of.samples = 1;
    of.outputs = of.all_outputs = kChannels;
    of.output_blocks = of.segments = 1;
    of.blocks = 4;
    of.slope = 0.2;
    of.scale = 1;
    using Sizes = ConvTile<Stored, Pixels, 64>;
    const size_t shared = 3 * 64 * 64 + 2 * 100 * 64 + 100 * sizeof(HaloPixel);
    const size_t sums = Pixels * Sizes::kSumsRow * sizeof(float);
    const auto launch = [&](int blocks, auto kernel) {
        emulation::launch(blocks, Sizes::kThreads, threads, kernel, &of, shared + sums);
    };
    const auto print = [&] {
        double total = 0;
        for (double moment : moments) total += moment;
        printf("%.9g %.9g\n", out.sum(), total);
    };
    of.source[0].span = of.source[1].span = kChannels;
    launch(4, run<Stored, Pixels, precision>);
    print();
    of.segments = 2;
    of.source[0].span = of.source[1].span = 1;
    of.totals = shared;
    launch(4, run<Stored, Pixels, precision>);
    print();
    const Values<float> partial(2 * 4 * Pixels * 64);
    of.partial = partial.data();
    launch(8, run<Stored, Pixels, precision>);
    of.folds = 1;
    launch(4, run<Stored, Pixels, precision>);
    print();
}

}  // namespace

int main(int, char** arguments) {
    const auto threads = static_cast<emulation::ThreadOrder>(atoi(arguments[2]));
    switch (atoi(arguments[1])) {
        case 0:
            check<bfloat16, 64, kOneProduct>(threads);
            break;
        case 1:
            check<float, 64, kThreeProducts>(threads);
            break;
        default:
            check<float, 64, kFused>(threads);
    }
}
