// DDIM: the deterministic step between two noise levels, with as much of DDPM's noise as eta says.
#include "common/error.h"
#include "samplers/signal.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {

// x' = alpha'·x0 + √(sigma'² − s²)·epsilon + s·z (Song et al. 2021, eq. 12 and 16).
Table ddim(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const double eta = options.share("eta", 0.0);
    const bool use_clipped_model_output = options.flag("use_clipped_model_output", false);
    options.finish();
    Table table;
    for (size_t i = 0; i < grid.timesteps.size(); ++i) {
        const Prediction raw = problem.prediction.at(grid, i);
        const Prediction now =
            use_clipped_model_output ? clipped(raw, problem.clip, grid.alpha[i], grid.sigma[i]) : raw;
        double std = 0.0;
        if (eta > 0) {
            const Node here = node(grid, i), there = node(grid, i + 1);
            const double variance = there.noise / here.noise * (1 - here.signal / there.signal);
            if (variance < 0) refuse("eta is %g, expected 0: step %zu goes towards more noise", eta, i);
            std = eta * sqrt(variance) * there.scale;
        }
        const double direction = sqrt(larger(pow(grid.sigma[i + 1], 2.0) - pow(std, 2.0), 0.0));
        const Combination y = X0 * grid.alpha[i + 1] + now.epsilon * direction + NOISE * std;
        table.add(grid.timesteps[i], raw, y, row_of(problem.clip));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
