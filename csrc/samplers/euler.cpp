// Euler's method on the probability-flow equation dx/dr = epsilon, and its ancestral form, r = sigma/alpha.
#include "common/error.h"
#include "samplers/ancestral.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

// gamma of node i: by how much of itself the noise level is raised.
double churn(const Grid& grid, size_t i, double s_churn, double s_tmin, double s_tmax) {
    const double ratio = grid.sigma[i] / grid.alpha[i];
    if (!(s_tmin <= ratio && ratio <= s_tmax)) return 0.0;
    return smaller(s_churn / static_cast<double>(grid.steps()), sqrt(2.0) - 1);
}

// The sample raised by gamma, and what its network output then means: epsilon and EDM's network are read at
// r̂, as the noise of x̂; v and x0 keep the coefficients of r.
struct Noised {
    Combination x_hat, x0;
};

Noised noised(const Grid& grid, size_t i, const Predictor& prediction, Prediction raw, double gamma,
              double s_noise) {
    const Combination x_hat = X + NOISE * (s_noise * grid.sigma[i] * sqrt(pow(1 + gamma, 2.0) - 1));
    if (prediction.is_edm() || prediction.kind == PredictionType::epsilon) {
        raw = prediction.at(grid.alpha[i], grid.sigma[i] * (1 + gamma));
    }
    return {x_hat, raw.x0.substitute(kTermX, x_hat)};
}

}  // namespace

// x'/alpha' = x0 + r'·epsilon (Karras et al. 2022, algorithm 2 without its correction); s_churn > 0 first
// raises the noise from r to (1 + gamma)·r. x0 is each row's second output.
Table euler(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const double s_churn = options.not_negative("s_churn", 0.0), s_tmin = options.not_negative("s_tmin", 0.0);
    const double s_tmax = options.not_negative("s_tmax", HUGE_VAL),
                 s_noise = options.not_negative("s_noise", 1.0);
    options.finish();
    if (s_churn > 0 && !(problem.clip == Clip())) {
        refuse("option 's_churn' is %g, expected 0 where x0 is clipped: the noise comes before the clip",
               s_churn);
    }
    bool has_signal = true;
    for (const double alpha : grid.alpha) has_signal = has_signal && alpha != 0;
    Table table;
    for (size_t i = 0; i < grid.timesteps.size(); ++i) {
        const Prediction raw = problem.prediction.at(grid, i);
        const double churned = churn(grid, i, s_churn, s_tmin, s_tmax);
        Combination x0 = X0, y;
        if (churned != 0 && has_signal) {
            const Noised raised = noised(grid, i, problem.prediction, raw, churned, s_noise);
            x0 = raised.x0;
            const double there = grid.sigma[i + 1] / grid.alpha[i + 1], here = grid.sigma[i] / grid.alpha[i];
            const double keep = there / (here * (1 + churned));
            y = (raised.x_hat * (keep / grid.alpha[i]) + x0 * (1 - keep)) * grid.alpha[i + 1];
        } else {
            const Prediction now = clipped(raw, problem.clip, grid.alpha[i], grid.sigma[i]);
            y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1];
        }
        table.add(grid.timesteps[i], raw, y, storing(problem.clip, &x0, -1));
    }
    return table;
}

// Euler down to r_down, then fresh noise up to r'. eta 0 is Euler.
Table euler_ancestral(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const double eta = options.share("eta", 1.0);
    options.finish();
    Table table;
    for (size_t i = 0; i < grid.timesteps.size(); ++i) {
        const Prediction raw = problem.prediction.at(grid, i);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[i], grid.sigma[i]);
        const Ancestral to = ancestral(grid, i, eta);
        const Combination y = (now.x0 + now.epsilon * to.down + NOISE * to.up) * grid.alpha[i + 1];
        table.add(grid.timesteps[i], raw, y, row_of(problem.clip));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
