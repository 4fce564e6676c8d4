// DPM-Solver and DPM-Solver++, singlestep: derivatives come from calls inside the step.
#include "common/error.h"
#include "samplers/dpm_step.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

// Order of each of `steps` rows: 1, 2, .., order again and again (Lu et al. 2022a, section 3.4).
std::vector<int64_t> singlestep_orders(int64_t steps, int64_t order, bool lower_order_final,
                                       bool final_zero) {
    const int64_t rest = steps % order;
    std::vector<int64_t> orders;
    for (int64_t i = 0; i < steps; ++i) orders.push_back(i % order + 1);
    if (!lower_order_final) {
        if (rest != 0) {
            refuse(
                "the grid has %lld steps and order is %lld, expected a multiple of it; or set "
                "lower_order_final",
                static_cast<long long>(steps), static_cast<long long>(order));
        }
    } else if (order > 1 && rest == 0) {
        orders.back() = 1;
    }
    if (final_zero) orders.back() = 1;
    return orders;
}

// The prediction at the group's first node s and its derivatives by u = (lambda − lambda_s)/h; stages:
// predictions at s, .., i (Lu et al. 2022a, algorithm 2).
std::vector<Combination> derivatives(const Grid& grid, size_t i, const std::vector<Combination>& stages,
                                     bool heun) {
    if (stages.size() == 1) return stages;
    const Array& log_snr = grid.log_snr;
    const size_t s = i + 1 - stages.size();
    const double h = log_snr[i + 1] - log_snr[s];
    Array r;
    std::vector<Combination> slopes;
    for (size_t k = 1; k < stages.size(); ++k) {
        r.push_back((log_snr[s + k] - log_snr[s]) / h);
        slopes.push_back((stages[k] - stages[0]) / r.back());
    }
    if (stages.size() == 2 || !heun) return {stages[0], slopes.back()};
    const Combination curvature = (slopes[1] - slopes[0]) * (2.0 / (r[1] - r[0]));
    return {stages[0], slopes[0] - curvature * (r[0] / 2.0), curvature};
}

}  // namespace

// DPM-Solver-k (Lu et al. 2022a, algorithms 1 and 2) and DPM-Solver++(kS). Rows come in groups of `order`;
// the group's first sample is not kept: it is the current one less what the last row added.
Table dpmpp_singlestep(const Problem& problem, Options& options) {
    static const char* const curvatures[] = {"exact", "diffusers"};
    const Grid& grid = problem.grid;
    const int64_t order = options.within("order", 2, 1, 3);
    const Algorithm algorithm = Algorithm::from(options);
    const bool heun = heun_weights(options);
    const bool lower_order_final = options.flag("lower_order_final", true);
    const bool slip = options.choice("curvature", "exact", curvatures) == 1 && algorithm.stochastic &&
                      algorithm.predicts_x0;
    options.finish();
    const int64_t steps = grid.steps(), slots = most(order - 1, 1);
    const std::vector<int64_t> orders =
        singlestep_orders(steps, order, lower_order_final, grid.sigma.back() == 0);
    const int64_t first = grid.alpha[0] == 0;  // derivatives need a finite lambda
    std::vector<int64_t> uses;
    for (int64_t i = 0; i < steps; ++i) {
        uses.push_back(most(1, least(orders[static_cast<size_t>(i)], i - first + 1)));
    }
    Combination start = X;
    Table table;
    for (int64_t i = 0; i < steps; ++i) {
        const size_t at = static_cast<size_t>(i);
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        const Combination& f = algorithm.integrated(now);
        const int64_t use = uses[at];
        if (use == 1) start = X;
        std::vector<Combination> stages;
        for (int64_t j = i - use + 1; j < i; ++j) stages.push_back(HISTORY[j % slots]);
        stages.push_back(f);
        DPMStep step = dpm_step(algorithm, grid, static_cast<size_t>(i - use + 1), at + 1);
        if (use == 2 && !heun) step = step.midpoint();
        if (use == 3 && slip) step = step.with_sign_slip(grid.alpha[at + 1]);
        table.add(grid.timesteps[at], raw, step.apply(start, derivatives(grid, at, stages, heun)),
                  storing(problem.clip, order > 1 ? &f : nullptr, i % slots));
        if (i + 1 < steps && uses[at + 1] > 1) {
            // Seen from the next row: this one's prediction is stored, its noise is the previous one.
            stages.back() = HISTORY[i % slots];
            const Combination added = step.apply(X, derivatives(grid, at, stages, heun)) - X * step.carry;
            start = (X - added.substitute(kTermNoise, NOISE_PREV)) / step.carry;
        }
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
