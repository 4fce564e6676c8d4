// iPNDM: DDIM steps with the noise prediction averaged over the last four as Adams and Bashforth do.
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

constexpr double kSmallestSignal = 1e-8;  // of a node without signal: there is no x0 to fall back on

}  // namespace

// x' = alpha'·(x − sigma·e)/alpha + sigma'·e with e the Adams-Bashforth average of the last epsilons (Liu et
// al. 2022, eq. 11 and 12; Zhang & Chen 2022, section 4).
Table ipndm(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const int64_t order = options.within("order", 4, 1, 4);
    options.finish();
    const int64_t slots = most(order - 1, 1);
    Table table;
    for (int64_t i = 0; i < grid.steps(); ++i) {
        const size_t at = static_cast<size_t>(i);
        const double alpha = larger(grid.alpha[at], kSmallestSignal);
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        const int64_t used = least(order, i + 1);
        const double* const weights = ADAMS_BASHFORTH[used - 1];
        Combination average = now.epsilon * weights[0];
        for (int64_t back = 1; back < used; ++back) {
            average = average + HISTORY[(i - back) % slots] * weights[back];
        }
        const Combination x0 = (X - average * grid.sigma[at]) / alpha;
        const Combination y = x0 * grid.alpha[at + 1] + average * grid.sigma[at + 1];
        table.add(grid.timesteps[at], raw, y,
                  storing(problem.clip, order > 1 ? &now.epsilon : nullptr, i % slots));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
