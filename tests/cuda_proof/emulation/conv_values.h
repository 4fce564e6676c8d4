// Images and weights of a 3x3 convolution of one small picture, for ThreadSanitizer.
#pragma once

#include <stdlib.h>

#include "cuda.h"
// after it
#include "conv_norm_act/cuda_arguments.h"

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

// An axis of a convolution of `taps` with stride 1 that keeps the size; blocks make 8 pixels.
ConvAxis axis(int taps) {
    return {kSide, 1, 8, -(taps / 2), 1, 8 + taps - 1, 8 + taps - 1, 0, 1, taps, 0, 1, 0, 1};
}

template <class Stored>
ConvSource source(const Values<Stored>& x, const Values<Stored>& weights, int taps) {
    ConvSource of{};
    of.x = x.image();
    of.weights = {weights.data(), 0, taps * taps * kChannels, taps * kChannels, kChannels};
    of.x_channels = of.channels = of.inputs = of.group_channels = kChannels;
    of.ring = taps == 1 ? 3 : 2;
    of.span = 1;
    of.rows = of.columns = axis(taps);
    return of;
}
