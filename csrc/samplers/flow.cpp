// Flow matching: x = (1 − sigma)·x0 + sigma·noise, its velocity noise − x0, and two ways along it.
#include "common/error.h"
#include "samplers/churn.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {

// x' = x + (sigma' − sigma)·(epsilon − x0) (Esser et al. 2024, eq. 1), alpha = 1 − sigma.
Table flow_euler(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    options.finish();
    Table table;
    for (size_t i = 0; i < grid.timesteps.size(); ++i) {
        const Prediction raw = problem.prediction.at(grid, i);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[i], grid.sigma[i]);
        const Combination y = X + (now.epsilon - now.x0) * (grid.sigma[i + 1] - grid.sigma[i]);
        table.add(grid.timesteps[i], raw, y, row_of(problem.clip));
    }
    return table;
}

// Heun's method in sigma. Two rows a step, one for the last, at the times of nodes 0, 1, 1, 2, 2, ... The
// first stores half a step along its slope, to which the second adds (sigma' − σ̂)/2·slope'.
Table flow_heun(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    Churn churn;
    churn.churn = options.not_negative("churn", 0.0);
    churn.minimum = options.not_negative("churn_minimum", 0.0);
    churn.maximum = options.not_negative("churn_maximum", HUGE_VAL);
    churn.noise = options.not_negative("churn_noise", 1.0);
    options.finish();
    if (problem.clip.clips() && churn.churn > 0) {
        refuse("clip and churn are both given, expected one: a clipped x0 cannot see churned noise");
    }
    const int64_t rows = 2 * grid.steps() - 1;
    double step = 0;
    Table table;
    for (int64_t row = 0; row < rows; ++row) {
        const size_t node = static_cast<size_t>((row + 1) / 2);
        const Prediction raw = problem.prediction.at(grid, node);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[node], grid.sigma[node]);
        Combination slope = now.epsilon - now.x0;
        if (row % 2 == 0) {
            const double sigma = grid.sigma[node];
            const double raised = churn.raised(sigma, rows);
            const Combination x = churn.sample(sigma, raised);
            step = grid.sigma[node + 1] - raised;
            slope = slope.substitute(kTermX, x) * (sigma / raised);
            const Combination half = x + slope * (step / 2);
            table.add(grid.timesteps[node], raw, x + slope * step,
                      storing(problem.clip, row == rows - 1 ? nullptr : &half));
        } else {
            table.add(grid.timesteps[node], raw, HISTORY[0] + slope * (step / 2), row_of(problem.clip));
        }
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
