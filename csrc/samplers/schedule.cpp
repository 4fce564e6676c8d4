#include "samplers/schedule.h"

#include "common/error.h"
#include "samplers/names.h"

namespace genfuse {
namespace samplers {
namespace {

constexpr double kNearlyZero = 0x1p-24;  // float16's smallest subnormal

Array linear(int64_t steps, double start, double end) {
    return linspace(start, end, steps);
}

Array scaled_linear(int64_t steps, double start, double end) {
    Array betas = linspace(pow(start, 0.5), pow(end, 0.5), steps);
    for (double& beta : betas) beta = square(beta);
    return betas;
}

Array sigmoid(int64_t steps, double start, double end) {
    Array betas = linspace(-6, 6, steps);
    for (double& beta : betas) beta = 1 / (1 + exp(-beta)) * (end - start) + start;
    return betas;
}

// Betas of a continuous alpha_bar(t), t in [0, 1], kept at or below 0.999.
template <double alpha_bar(double)>
Array from_alpha_bar(int64_t steps, double, double) {
    Array betas(static_cast<size_t>(steps));
    const double count = static_cast<double>(steps);
    for (size_t i = 0; i < betas.size(); ++i) {
        const double here = static_cast<double>(i) / count, there = static_cast<double>(i + 1) / count;
        betas[i] = smaller(1 - alpha_bar(there) / alpha_bar(here), 0.999);
    }
    return betas;
}

double cosine(double t) {
    return pow(cos((t + 0.008) / 1.008 * M_PI / 2), 2.0);
}

double laplace(double t) {
    const double log_snr = -0.5 * copysign(1, 0.5 - t) * log(1 - 2 * fabs(0.5 - t) + 1e-6);
    const double snr = exp(log_snr);
    return sqrt(snr / (1 + snr));
}

double exponential(double t) {
    return exp(-12.0 * t);
}

Array cumulative_product(const Array& betas) {
    Array products(betas.size());
    double product = 1;
    for (size_t i = 0; i < betas.size(); ++i) products[i] = product = product * (1.0 - betas[i]);
    return products;
}

Array rescale_zero_terminal_snr(const Array& betas) {
    Array levels = cumulative_product(betas);
    const double first = sqrt(levels.front()), last = sqrt(levels.back());
    for (double& level : levels) level = square((sqrt(level) - last) * (first / (first - last)));
    Array rescaled(levels.size());
    for (size_t i = 0; i < levels.size(); ++i) {
        rescaled[i] = 1 - (i == 0 ? levels[0] : levels[i] / levels[i - 1]);
    }
    return rescaled;
}

}  // namespace

NoiseSchedule::NoiseSchedule(Array levels)
    : alphas_cumprod(static_cast<Array&&>(levels)),
      sigmas(alphas_cumprod.size()),
      log_sigmas(alphas_cumprod.size()) {
    for (size_t t = 0; t < sigmas.size(); ++t) {
        sigmas[t] = sqrt((1 - alphas_cumprod[t]) / alphas_cumprod[t]);
        log_sigmas[t] = log(sigmas[t]);
    }
}

Array named_betas(const char* name, int64_t num_train_timesteps, double beta_start, double beta_end) {
    static const char* const names[] = {"linear",  "scaled_linear", "squaredcos_cap_v2",
                                        "sigmoid", "laplace",       "exp"};
    static Array (*const made[])(int64_t, double, double) = {
        linear,  scaled_linear,           from_alpha_bar<cosine>,
        sigmoid, from_alpha_bar<laplace>, from_alpha_bar<exponential>};
    return made[check_name("schedule", name, names)](num_train_timesteps, beta_start, beta_end);
}

Array levels_of_betas(Array betas, bool zero_terminal_snr, bool finite_sigmas) {
    for (const double beta : betas) {
        if (!(beta >= 0 && beta <= 1)) {
            refuse(
                "a beta of the schedule is %g, expected values in [0, 1]; check betas, beta_start, beta_end",
                beta);
        }
    }
    if (zero_terminal_snr) betas = rescale_zero_terminal_snr(betas);
    Array levels = cumulative_product(betas);
    if (finite_sigmas) levels.back() = kNearlyZero;
    return levels;
}

}  // namespace samplers
}  // namespace genfuse
