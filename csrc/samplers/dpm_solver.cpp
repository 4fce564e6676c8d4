// DPM-Solver and DPM-Solver++, multistep: derivatives of the prediction come from earlier steps.
#include "samplers/dpm_step.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

constexpr int64_t kFewSteps =
    15;  // `lower_order_final` matters below this many (Lu et al. 2022b, appendix B)

enum Curvature { kExact, kPublished, kDiffusers };

// The prediction at node i and its derivatives by u = (lambda − lambda_i)/h: Newton's divided differences.
std::vector<Combination> derivatives(const Grid& grid, size_t i, const std::vector<Combination>& past) {
    const Array& log_snr = grid.log_snr;
    const double h = log_snr[i + 1] - log_snr[i];
    if (past.size() == 1) return past;
    const double h0 = log_snr[i] - log_snr[i - 1];
    const Combination slope = (past[0] - past[1]) * (h / h0);
    if (past.size() == 2) return {past[0], slope};
    const double h1 = log_snr[i - 1] - log_snr[i - 2];
    const Combination bend = slope - (past[1] - past[2]) * (h / h1);
    return {past[0], slope + bend * (h0 / (h0 + h1)), bend * (2.0 * h / (h0 + h1))};
}

DPMStep with_curvature(DPMStep step, size_t curvature, const Algorithm& algorithm, double alpha) {
    if (curvature == kDiffusers && algorithm.stochastic && algorithm.predicts_x0) {
        step = step.with_sign_slip(alpha);
    }
    if (curvature != kExact) step.weights[2] = step.weights[2] / 2.0;
    return step;
}

}  // namespace

// DPM-Solver++(kM) (Lu et al. 2022b, algorithm 2) and its kin.
Table dpmpp_multistep(const Problem& problem, Options& options) {
    static const char* const curvatures[] = {"exact", "published", "diffusers"};
    const Grid& grid = problem.grid;
    const int64_t order = options.within("order", 2, 1, 3);
    const Algorithm algorithm = Algorithm::from(options);
    const bool heun = heun_weights(options);
    const bool lower_order_final = options.flag("lower_order_final", true);
    const bool euler_at_final = options.flag("euler_at_final", false);
    const size_t curvature = options.choice("curvature", "exact", curvatures);
    options.finish();
    const int64_t steps = grid.steps(), slots = most(order - 1, 1);
    const bool few = lower_order_final && steps < kFewSteps;
    Table table;
    for (int64_t i = 0; i < steps; ++i) {
        const size_t at = static_cast<size_t>(i);
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        const Combination& f = algorithm.integrated(now);
        int64_t use = least(order, i + 1);
        if (i == steps - 1 && (euler_at_final || few || grid.sigma.back() == 0)) {
            use = 1;
        } else if (i == steps - 2 && few) {
            use = least(use, 2);
        }
        std::vector<Combination> past{f};
        for (int64_t back = 1; back < use; ++back) past.push_back(HISTORY[(i - back) % slots]);
        DPMStep step = dpm_step(algorithm, grid, at, at + 1);
        if (use == 2 && !heun) {
            step = step.midpoint();
        } else if (use == 3) {
            step = with_curvature(step, curvature, algorithm, grid.alpha[at + 1]);
        }
        table.add(grid.timesteps[at], raw, step.apply(X, derivatives(grid, at, past)),
                  storing(problem.clip, order > 1 ? &f : nullptr, i % slots));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
