// A normalisation as one multiplication and addition a channel; double on a few thousand numbers costs
// nothing.
#include "conv_norm_act/moments.h"
#include "conv_norm_act/statistics.h"

namespace genfuse {

void fold_normalisation(const genfuse_prologue& prologue, const float* stats, int64_t batch, int64_t channels,
                        float* scale, float* offset) {
    each_norm(prologue, stats, batch, channels, [&](int64_t n, int64_t c, double mean, double rstd) {
        double factor = rstd, shift = 0;
        if (prologue.weight) factor *= prologue.weight[n * prologue.weight_stride + c];
        if (prologue.bias) shift = prologue.bias[n * prologue.bias_stride + c];
        if (prologue.film_scale) {
            const double film = 1 + static_cast<double>(prologue.film_scale[n * prologue.film_stride + c]);
            factor *= film;
            shift = shift * film + prologue.film_shift[n * prologue.film_stride + c];
        }
        // The mean goes through the factor as rounded: otherwise a large mean brings its rounding along.
        const float rounded = static_cast<float>(factor);
        scale[n * channels + c] = rounded;
        offset[n * channels + c] = static_cast<float>(shift - mean * static_cast<double>(rounded));
    });
}

void merge_partials(const ConvJob& job, const std::vector<int64_t>& counts, float* stats) {
    const int64_t channels = job.out_channels;
    double pixels = 0;
    for (const int64_t count : counts) pixels += static_cast<double>(count);
    const float share = static_cast<float>(1 / pixels);
    std::vector<float> mean(static_cast<size_t>(channels)), squares(mean);
    for (int64_t n = 0; n < job.args->batch; ++n) {
        const float* const first = job.partial + n * job.partial_rows * 2 * channels;
        for (int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0;
        for (int64_t row = 1; row < job.partial_rows; ++row) {  // about the first row's mean: nothing cancels
            if (counts[row] == 0) continue;                     // nobody wrote it
            const float* const at = first + row * 2 * channels;
            const float weight = static_cast<float>(counts[row]) * share;
            for (int64_t c = 0; c < channels; ++c) mean[c] += weight * (at[c] - first[c]);
        }
        for (int64_t c = 0; c < channels; ++c) mean[c] += first[c];
        for (int64_t row = 0; row < job.partial_rows; ++row) {
            if (counts[row] == 0) continue;
            const float* const at = first + row * 2 * channels;
            const float weight = static_cast<float>(counts[row]);
            for (int64_t c = 0; c < channels; ++c) {
                const float apart = at[c] - mean[c];
                squares[c] += at[channels + c] + weight * apart * apart;
            }
        }
        for (int64_t c = 0; c < channels; ++c) {
            stats[(n * channels + c) * 2] = mean[c];
            stats[(n * channels + c) * 2 + 1] = squares[c] * share;
        }
    }
}

}  // namespace genfuse
