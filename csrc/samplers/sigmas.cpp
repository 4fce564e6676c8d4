#include "samplers/sigmas.h"

#include "common/error.h"
#include "samplers/names.h"

namespace genfuse {
namespace samplers {
namespace {

constexpr double kRho = 7.0, kBeta = 0.6;

Array exponential(double sigma_min, double sigma_max, int64_t steps) {
    Array sigmas = linspace(log(sigma_max), log(sigma_min), steps);
    for (double& sigma : sigmas) sigma = exp(sigma);
    return sigmas;
}

// Stirling's series from 16 on, Γ(x) = Γ(x + 1)/x below.
double log_gamma(double x) {
    double below = 1.0;
    while (x < 16.0) {
        below *= x;
        x += 1.0;
    }
    double series = 0.0;
    for (const double coefficient : {1.0 / 1188, -1.0 / 1680, 1.0 / 1260, -1.0 / 360, 1.0 / 12}) {
        series = series / (x * x) + coefficient;
    }
    return (x - 0.5) * log(x) - x + log(2.0 * M_PI) / 2.0 + series / x - log(below);
}

// The distribution function for x <= 1/2: x^a/(a·B(a, b)) · ₂F₁(a, 1 − b; a + 1; x), a series in x.
double beta_cdf(double x, double a, double b) {
    const double log_norm = log_gamma(a) + log_gamma(b) - log_gamma(a + b);
    double total = 1 / a, term = 1.0;
    for (int n = 1; n < 80; ++n) {
        term *= x * (n - b) / n;
        total += term / (a + n);
    }
    return exp(a * log(x) - log_norm) * total;
}

// The quantile where it is at most 1/2: Newton in log x, where the function is nearly straight.
double lower_quantile(double p, double a, double b) {
    const double log_norm = log_gamma(a) + log_gamma(b) - log_gamma(a + b);
    double x = smaller(0.5, exp((log(p * a) + log_norm) / a));
    for (int iteration = 0; iteration < 50; ++iteration) {
        const double density = exp((a - 1) * log(x) + (b - 1) * log1p(-x) - log_norm);
        const double step = (beta_cdf(x, a, b) - p) / (x * density);
        x = smaller(0.5, x * exp(-step));
        if (fabs(step) < 1e-15) break;
    }
    return x;
}

double beta_quantile(double p, double a, double b) {
    if (p <= 0 || p >= 1) return p >= 1;
    return p <= beta_cdf(0.5, a, b) ? lower_quantile(p, a, b) : 1 - lower_quantile(1 - p, b, a);
}

// At quantiles of a beta distribution (Lee et al. 2024).
Array beta(double sigma_min, double sigma_max, int64_t steps) {
    Array sigmas = linspace(0, 1, steps);
    for (double& sigma : sigmas) {
        sigma = sigma_min + beta_quantile(1 - sigma, kBeta, kBeta) * (sigma_max - sigma_min);
    }
    return sigmas;
}

}  // namespace

Array karras(double sigma_min, double sigma_max, int64_t steps, double rho) {
    Array sigmas = linspace(0, 1, steps);
    const double low = pow(sigma_min, 1 / rho), high = pow(sigma_max, 1 / rho);
    for (double& sigma : sigmas) sigma = pow(high + sigma * (low - high), rho);
    return sigmas;
}

Array spaced_sigmas(const char* kind, double sigma_min, double sigma_max, int64_t steps) {
    static const char* const names[] = {"karras", "exponential", "beta", "lu"};
    const size_t which = check_name("sigmas", kind, names);
    if (sigma_max == HUGE_VAL) {
        refuse(
            "sigma_max is inf, expected a finite one: '%s' sigmas need a schedule without zero terminal "
            "SNR, or finite_sigmas",
            kind);
    }
    if (!(0 < sigma_min && sigma_min <= sigma_max)) {
        refuse("sigma_min is %g and sigma_max is %g, expected 0 < sigma_min <= sigma_max", sigma_min,
               sigma_max);
    }
    if (which == 0) return karras(sigma_min, sigma_max, steps, kRho);
    return which == 2 ? beta(sigma_min, sigma_max, steps) : exponential(sigma_min, sigma_max, steps);
}

double sigma_to_t(double sigma, const Array& log_sigmas) {
    const double log_sigma = log(larger(sigma, 1e-10));
    size_t low = 0;  // the last level that the sigma reaches
    for (size_t t = 0; t < log_sigmas.size(); ++t) {
        if (log_sigmas[t] <= log_sigma) low = t;
    }
    if (low > log_sigmas.size() - 2) low = log_sigmas.size() - 2;
    double weight = (log_sigmas[low] - log_sigma) / (log_sigmas[low] - log_sigmas[low + 1]);
    weight = clamp(weight, 0, 1);
    const double time = static_cast<double>(low);
    return (1 - weight) * time + weight * (time + 1);
}

}  // namespace samplers
}  // namespace genfuse
