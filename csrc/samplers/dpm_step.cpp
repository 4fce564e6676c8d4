#include "samplers/dpm_step.h"

#include "common/error.h"
#include "samplers/phi.h"

namespace genfuse {
namespace samplers {
namespace {

constexpr double kSameNode = 1e-5;  // nodes this close in lambda are one, apart by rounding to float32

}  // namespace

Algorithm Algorithm::from(Options& options) {
    static const char* const names[] = {"dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"};
    const size_t which = options.choice("algorithm", "dpmsolver++", names);
    return {which >= 2, which % 2 == 1};
}

bool heun_weights(Options& options) {
    static const char* const names[] = {"midpoint", "heun"};
    return options.choice("solver_type", "midpoint", names) == 1;
}

Combination DPMStep::apply(const Combination& start, const std::vector<Combination>& derivatives) const {
    Combination total = start * carry + NOISE * noise;
    for (size_t k = 0; k < derivatives.size(); ++k) total = total + derivatives[k] * weights[k];
    return total;
}

DPMStep dpm_step(const Algorithm& algorithm, const Grid& grid, size_t s, size_t t) {
    const double alpha_s = grid.alpha[s], sigma_s = grid.sigma[s];
    const double alpha_t = grid.alpha[t], sigma_t = grid.sigma[t];
    const double h = grid.log_snr[t] - grid.log_snr[s];
    const bool stochastic = algorithm.stochastic;
    if (stochastic && h < -kSameNode) {
        refuse("the grid gains noise from node %zu to %zu, expected less and less: an SDE only removes it", s,
               t);
    }
    const double rate = stochastic ? 2.0 : 1.0;
    DPMStep step{0, {}, 0};
    if (algorithm.predicts_x0) {
        for (int k = 1; k <= 3; ++k) step.weights[k - 1] = -alpha_t * z_phi(k, -rate * h);
        const double shrink = stochastic ? exp(-h) : 1.0;
        step.noise = stochastic ? sigma_t * sqrt(-expm1(-2 * larger(h, 0.0))) : 0.0;
        step.carry = sigma_t / sigma_s * shrink;
        return step;
    }
    step.carry = alpha_s > 0 ? alpha_t / alpha_s : HUGE_VAL;  // epsilon has no x0 there: the table refuses it
    if (isinf(h)) {
        const double rise = step.carry * sigma_s;
        step.weights[0] = -rate * rise;
        step.noise = stochastic ? rise : 0.0;
        return step;
    }
    for (int k = 1; k <= 3; ++k) step.weights[k - 1] = -rate * sigma_t * z_phi(k, h);
    step.noise = stochastic ? sigma_t * sqrt(expm1(2 * larger(h, 0.0))) : 0.0;
    return step;
}

}  // namespace samplers
}  // namespace genfuse
