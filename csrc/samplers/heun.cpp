// Heun's method: an Euler step, then the slope averaged with the one it arrives at. Two rows a step.
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {

// Algorithm 1 of Karras et al. 2022: 2n − 1 rows at times t0, t1, t1, t2, t2, ...; the last is Euler's. The
// first row of a step stores half a step along its slope, to which the second adds alpha'·(r' −
// r)/2·epsilon'.
Table heun(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    options.finish();
    const size_t steps = grid.timesteps.size();
    Table table;
    for (size_t row = 0; row < 2 * steps - 1; ++row) {
        const size_t i = row / 2, second = row % 2;
        const size_t at = i + second;
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        if (i == steps - 1) {
            const Combination y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1];
            table.add(grid.timesteps[i], raw, y, row_of(problem.clip));
            continue;
        }
        // alpha'·(r' − r)/2
        const double half = (grid.sigma[i + 1] - grid.sigma[i] * grid.alpha[i + 1] / grid.alpha[i]) / 2;
        if (!second) {
            const Combination y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1];
            const Combination store = y - now.epsilon * half;
            table.add(grid.timesteps[i], raw, y, storing(problem.clip, &store));
        } else {
            table.add(grid.timesteps[at], raw, HISTORY[0] + now.epsilon * half, row_of(problem.clip));
        }
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
