// Mean and variance that a normalisation takes, from those of each channel of each sample.
#pragma once

#include <cmath>

#include "conv_norm_act/params.h"

namespace genfuse {

struct Moments {
    double mean, variance;
};

// Of several sets of equal size.
template <class At>
Moments merged(int64_t count, At at) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < count; ++i) mean += at(i)[0];
    mean /= static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) {
        const double apart = at(i)[0] - mean;
        variance += at(i)[1] + apart * apart;
    }
    return {mean, variance / static_cast<double>(count)};
}

// One over the standard deviation; 1 where the norm has none of a channel.
inline double inverse_deviation(const genfuse_prologue& prologue, const Moments& moments) {
    if (prologue.kind == GENFUSE_NORM_PIXEL || prologue.kind == GENFUSE_NORM_NONE) return 1;
    // Without centring the variance is the mean square.
    const double spread =
        prologue.centred ? moments.variance : moments.variance + moments.mean * moments.mean;
    // Squares beyond float32 are no reason to hand on zeros.
    if (std::isinf(spread) && prologue.kind != GENFUSE_NORM_GIVEN) return NAN;
    return 1 / std::sqrt(spread + prologue.eps);
}

// Calls take(n, c, mean, rstd) for every channel of every sample, with what is subtracted and what multiplies
// then; stats (N, C, 2) where the kind reads them.
template <class Take>
void each_norm(const genfuse_prologue& prologue, const float* stats, int64_t batch, int64_t channels,
               Take take) {
    if (prologue.kind == GENFUSE_NORM_GROUP) {
        const int64_t size = channels / prologue.groups;
        for (int64_t n = 0; n < batch; ++n) {
            for (int64_t group = 0; group < prologue.groups; ++group) {
                const float* const first = stats + (n * channels + group * size) * 2;
                const Moments moments = merged(size, [&](int64_t i) { return first + 2 * i; });
                const double mean = prologue.centred ? moments.mean : 0;
                const double rstd = inverse_deviation(prologue, moments);
                for (int64_t c = group * size; c < (group + 1) * size; ++c) take(n, c, mean, rstd);
            }
        }
        return;
    }
    for (int64_t c = 0; c < channels; ++c) {
        Moments moments{0, 0};
        if (prologue.kind == GENFUSE_NORM_BATCH) {
            moments = merged(batch, [&](int64_t n) { return stats + (n * channels + c) * 2; });
        } else if (prologue.kind == GENFUSE_NORM_GIVEN) {
            moments = {prologue.mean[c], prologue.variance[c]};
        }
        const double mean = prologue.centred ? moments.mean : 0;
        const double rstd = inverse_deviation(prologue, moments);
        for (int64_t n = 0; n < batch; ++n) take(n, c, mean, rstd);
    }
}

}  // namespace genfuse
