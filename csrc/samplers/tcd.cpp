// Trajectory consistency distillation: jump along the flow past the next node, then back with fresh noise.
#include "common/error.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {

// Strategic stochastic sampling (Zheng et al. 2024, algorithm 4; eta is its gamma): a jump to the landing
// time s = ⌊(1 − eta)·t'⌋, in float32 as diffusers rounds it, then the forward process from s to t'. x_s is
// each row's second output.
Table tcd(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const double eta = options.share("eta", 0.3);
    options.finish();
    Table table;
    for (size_t i = 0; i < grid.timesteps.size(); ++i) {
        double alpha_s = grid.alpha.back(), sigma_s = grid.sigma.back();
        if (i + 1 < grid.timesteps.size()) {
            const float time =
                floorf(static_cast<float>(1 - eta) * static_cast<float>(grid.timesteps[i + 1]));
            const double level = problem.schedule->alphas_cumprod[static_cast<size_t>(time)];
            alpha_s = sqrt(level);
            sigma_s = sqrt(1 - level);
        }
        const Prediction raw = problem.prediction.at(grid, i);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[i], grid.sigma[i]);
        const Combination x_s = now.x0 * alpha_s + now.epsilon * sigma_s;
        const double forward = grid.alpha[i + 1] / alpha_s;
        const Combination y = x_s * forward + NOISE * pow(larger(1 - pow(forward, 2.0), 0.0), 0.5);
        table.add(grid.timesteps[i], raw, y, storing(problem.clip, &x_s, -1));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
