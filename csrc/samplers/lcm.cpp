// Latent consistency models: jump to x0, then back to the next noise level with fresh noise.
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {

// x' = alpha'·f + sigma'·noise (Luo et al. 2023, algorithm 3) with the boundary condition of Song et al. 2023
// (eq. 5, appendix C) at the scaled time; f is each row's second output.
Table lcm(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const double timestep_scaling = options.positive("timestep_scaling", 10.0);
    const double sigma_data = options.positive("sigma_data", 0.5);
    options.finish();
    Table table;
    for (size_t i = 0; i < grid.timesteps.size(); ++i) {
        const double scaled = grid.timesteps[i] * timestep_scaling;
        const double variance = pow(scaled, 2.0) + pow(sigma_data, 2.0);
        const double c_skip = pow(sigma_data, 2.0) / variance, c_out = scaled / pow(variance, 0.5);
        const Combination denoised = X0 * c_out + X * c_skip;
        const Combination y = denoised * grid.alpha[i + 1] + NOISE * grid.sigma[i + 1];
        table.add(grid.timesteps[i], problem.prediction.at(grid, i), y, storing(problem.clip, &denoised, -1));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
