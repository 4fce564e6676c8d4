// From sums over pixels to the gradients that go through statistics and parameters; double on a few thousand
// numbers costs nothing.
#include "conv_norm_act/prologue_gradient.h"

namespace genfuse {
namespace {

// One channel of one sample.
struct Channel {
    Channel(const GradientJob& job, int64_t n, int64_t c) {
        const genfuse_prologue& prologue = job.args->prologue;
        const int64_t k = n * job.channels + c;
        film = prologue.film_scale
                   ? 1 + static_cast<double>(prologue.film_scale[n * prologue.film_stride + c])
                   : 1;
        weight = prologue.weight ? prologue.weight[n * prologue.weight_stride + c] : 1;
        bias = prologue.bias ? prologue.bias[n * prologue.bias_stride + c] : 0;
        const double centre = static_cast<double>(job.centre[n * job.padded + padded_place(job, c)]);
        plain = job.sums[2 * k];
        weighted = job.rstd[k] * (job.sums[2 * k + 1] + (centre - job.mean[k]) * plain);
    }

    double film, weight, bias;
    double plain, weighted;  // Σg, Σg·x̂ with x̂ the normalised x
};

// `count` channels that were normalised together: member(i, take) calls take(n, c).
template <class Member>
void fold_set(const GradientJob& job, int64_t count, Member member) {
    double plain = 0, weighted = 0;  // of the gradient of x̂
    double mean = 0, rstd = 0;
    for (int64_t i = 0; i < count; ++i) {
        member(i, [&](int64_t n, int64_t c) {
            const Channel channel(job, n, c);
            plain += channel.weight * channel.film * channel.plain;
            weighted += channel.weight * channel.film * channel.weighted;
            mean = job.mean[n * job.channels + c];
            rstd = job.rstd[n * job.channels + c];
        });
    }
    const double values = static_cast<double>(count * job.args->height * job.args->width);
    const double tilt = -rstd * rstd * weighted / values, constant = -rstd * plain / values;
    const double share = rstd / static_cast<double>(count);
    float* const stats = job.args->stats_gradient;
    for (int64_t i = 0; i < count; ++i) {
        member(i, [&](int64_t n, int64_t c) {
            const int64_t k = n * job.channels + c;
            if (job.total) {
                const int64_t to = n * job.padded + padded_place(job, c);
                const double from_mean = static_cast<double>(job.centre[to]) - mean;
                job.tilt[to] = static_cast<float>(tilt);
                job.constant[to] = static_cast<float>(constant + tilt * from_mean);
            }
            if (stats) {
                const double apart = static_cast<double>(job.args->prologue.stats[2 * k]) - mean;
                stats[2 * k] = static_cast<float>(-share * (plain + rstd * weighted * apart));
                stats[2 * k + 1] = static_cast<float>(-0.5 * share * rstd * weighted);
            }
        });
    }
}

// The gradient of a parameter of each channel, (N, C), or (C,) where `stride` is 0.
template <class Of>
void write_parameter(const GradientJob& job, int64_t stride, float* to, Of of) {
    if (!to) return;
    for (int64_t c = 0; c < job.channels; ++c) {
        double sum = 0;
        for (int64_t n = 0; n < job.args->batch; ++n) {
            const double value = of(Channel(job, n, c));
            sum += value;
            if (stride != 0) to[n * job.channels + c] = static_cast<float>(value);
        }
        if (stride == 0) to[c] = static_cast<float>(sum);
    }
}

}  // namespace

void fold_gradient(const GradientJob& job, int64_t first_n, int64_t last_n, int64_t first_c, int64_t last_c) {
    const genfuse_prologue& prologue = job.args->prologue;
    if (prologue.kind == GENFUSE_NORM_GROUP) {
        const int64_t size = job.channels / prologue.groups;
        for (int64_t n = first_n; n < last_n; ++n) {
            for (int64_t c = first_c; c < last_c; c += size) {
                fold_set(job, size, [&](int64_t i, auto take) { take(n, c + i); });
            }
        }
    } else if (prologue.kind == GENFUSE_NORM_BATCH) {
        for (int64_t c = first_c; c < last_c; ++c) {
            fold_set(job, last_n - first_n, [&](int64_t i, auto take) { take(first_n + i, c); });
        }
    }
}

void fold_parameter_gradients(const GradientJob& job) {
    const genfuse_prologue_gradient_args& args = *job.args;
    write_parameter(job, args.prologue.weight_stride, args.weight_gradient,
                    [](const Channel& channel) { return channel.film * channel.weighted; });
    write_parameter(job, args.prologue.bias_stride, args.bias_gradient,
                    [](const Channel& channel) { return channel.film * channel.plain; });
    write_parameter(job, job.channels, args.film_scale_gradient, [](const Channel& channel) {
        return channel.weight * channel.weighted + channel.bias * channel.plain;
    });
    write_parameter(job, job.channels, args.film_shift_gradient,
                    [](const Channel& channel) { return channel.plain; });
}

}  // namespace genfuse
