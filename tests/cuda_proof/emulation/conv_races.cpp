// conv_norm_act's kernel on a grid of a few blocks, for ThreadSanitizer: `races PRODUCT THREAD_ORDER`. A 3x3
// convolution, normalised and activated, with a projected residual and statistics.
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "cuda.h"
// after it
#include "conv_norm_act/cuda.cu"

namespace {

using namespace genfuse;

constexpr int kSide = 9, kChannels = 32, kPixels = kSide * kSide;

template <class Stored>
class Values {
  public:
    explicit Values(int count)
        : count_(count),
          values_(static_cast<Stored*>(aligned_alloc(64, (count * sizeof(Stored) + 63) / 64 * 64))) {
        for (int i = 0; i < count; ++i) narrow(static_cast<float>(i % 11) * 0.25f - 1, values_ + i);
    }
    ~Values() { free(values_); }
    Values(const Values&) = delete;

    Stored* data() const { return values_; }
    ConvImage image() const { return {values_, kPixels * kChannels, 1, kSide * kChannels, kChannels}; }
    double sum() const {
        double total = 0;
        for (int i = 0; i < count_; ++i) total += static_cast<double>(widen(values_[i]));
        return total;
    }

  private:
    const int count_;
    Stored* const values_;
};

template <class Stored, int Pixels, Precision precision>
void run(const void* arguments) {
    GENFUSE_DYNAMIC_SHARED(shared);
    conv_norm_act<Stored, kChannelsLast, int, Pixels, 64, precision>(
        *static_cast<const ConvArguments*>(arguments), shared);
}

// An axis of a convolution of `taps` with stride 1 that keeps the size; blocks make 8 pixels.
ConvAxis axis(int taps) {
    return {kSide, 1, 8, -(taps / 2), 1, 8 + taps - 1, 1, taps, 0, 1, 0, 1};
}

template <class Stored>
ConvSource source(const Values<Stored>& x, const Values<Stored>& weights, int taps) {
    ConvSource of{};
    of.x = x.image();
    of.weights = {weights.data(), 0, taps * taps * kChannels, taps * kChannels, kChannels};
    of.x_channels = of.channels = of.inputs = of.group_channels = kChannels;
    of.ring = taps == 1 ? 3 : 2;
    of.rows = of.columns = axis(taps);
    return of;
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
    of.output_blocks = 1;
    of.slope = 0.2;
    of.scale = 1;
    using Sizes = ConvTile<Stored, Pixels, 64>;
    const size_t shared = 3 * 64 * 64 + 2 * 100 * 64 + 100 * sizeof(HaloPixel);
    const size_t sums = Pixels * Sizes::kSumsRow * sizeof(float);
    emulation::launch(4, Sizes::kThreads, threads, run<Stored, Pixels, precision>, &of,
                      shared > sums ? shared : sums);
    double total = 0;
    for (double moment : moments) total += moment;
    printf("%.9g %.9g\n", out.sum(), total);
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
