// DEIS: the probability flow, integrated with a polynomial in log ρ through past noise predictions.
#include "samplers/exponential.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {

// ρAB-DEIS (Zhang & Chen 2022, eq. 15 and appendix B): the DDIM step of the last epsilon plus
// alpha'·Σ w_j·(epsilon_j − epsilon).
Table deis(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const Array& log_snr = grid.log_snr;
    const int64_t order = options.within("order", 2, 1, 4);
    const bool lower_order_final = options.flag("lower_order_final", false);
    options.finish();
    const int64_t steps = grid.steps(), slots = most(order - 1, 1);
    Table table;
    for (int64_t i = 0; i < steps; ++i) {
        const size_t at = static_cast<size_t>(i);
        const double alpha = grid.alpha[at + 1], sigma = grid.sigma[at + 1];
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        const int64_t reach = least(least(order, i + 1), lower_order_final ? steps - i : order);
        const int64_t past = sigma > 0 ? reach : 1;
        Array nodes{log_snr[at]};
        std::vector<int64_t> places{i};
        for (int64_t j = i - 1; j > i - past; --j) {
            if (!isfinite(log_snr[static_cast<size_t>(j)])) continue;
            nodes.push_back(log_snr[static_cast<size_t>(j)]);
            places.push_back(j);
        }
        Combination y = now.x0 * alpha + now.epsilon * sigma;
        if (nodes.size() > 1) {
            const Array weights = exponential_weights(nodes, log_snr[at], log_snr[at + 1], -1.0);
            for (size_t j = 1; j < nodes.size(); ++j) {
                y = y + (HISTORY[places[j] % slots] - now.epsilon) * (-sigma * weights[j]);
            }
        }
        table.add(grid.timesteps[at], raw, y,
                  storing(problem.clip, order > 1 ? &now.epsilon : nullptr, i % slots));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
