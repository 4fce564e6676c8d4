// One exponential-integrator step of the DPM-Solver family, between any two nodes of a grid.
#pragma once

#include "samplers/options.h"
#include "samplers/prediction.h"

namespace genfuse {
namespace samplers {

struct Algorithm {
    bool stochastic, predicts_x0;

    // "dpmsolver", "dpmsolver++", "sde-dpmsolver" or "sde-dpmsolver++".
    static Algorithm from(Options& options);

    // What it integrates: x0 for the ++ ones, epsilon for the others.
    const Combination& integrated(const Prediction& prediction) const {
        return predicts_x0 ? prediction.x0 : prediction.epsilon;
    }
};

// Whether the option "solver_type" is "heun", not "midpoint".
bool heun_weights(Options& options);

// x_t = carry·x_s + Σ_k weights[k]·f⁽ᵏ⁾ + noise·z with f⁽ᵏ⁾ the k-th derivative of the prediction at s, by u,
// where lambda = lambda_s + u·h.
struct DPMStep {
    double carry;
    double weights[3];
    double noise;

    // Half the prediction's weight for the slope: what a midpoint rule gives.
    DPMStep midpoint() const { return {carry, {weights[0], weights[0] / 2.0, weights[2]}, noise}; }

    // The third-order weight as diffusers 0.42 has it for sde-dpmsolver++: −1/2 where φ3 has +1/2.
    DPMStep with_sign_slip(double alpha) const {
        return {carry, {weights[0], weights[1], weights[2] - alpha}, noise};
    }

    // x_t from the sample at s, the prediction there, and as many of its derivatives as are known, 1 to 3.
    Combination apply(const Combination& start, const std::vector<Combination>& derivatives) const;
};

// From node s to t, exact where the prediction is quadratic in lambda.
DPMStep dpm_step(const Algorithm& algorithm, const Grid& grid, size_t s, size_t t);

}  // namespace samplers
}  // namespace genfuse
