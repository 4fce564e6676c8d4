// DPM2: the midpoint method in log sigma, and its ancestral form. Two rows a step.
#include "common/error.h"
#include "samplers/ancestral.h"
#include "samplers/middle.h"
#include "samplers/sigmas.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

// (n − 1,) geometric mean of r and of what the first n − 1 steps go down to.
Array middle_ratios(const Grid& grid, bool is_ancestral) {
    Array ratio(grid.alpha.size());
    for (size_t i = 0; i < ratio.size(); ++i) ratio[i] = grid.sigma[i] / grid.alpha[i];
    Array middles(grid.timesteps.size() - 1);
    for (size_t i = 0; i < middles.size(); ++i) {
        const double down = is_ancestral ? ancestral(grid, i, 1.0).down : ratio[i + 1];
        middles[i] = sqrt(ratio[i] * down);
    }
    return middles;
}

// Half a step to the geometric mean of r and r', then the whole step with the slope found there (algorithm 2
// of Karras et al. 2022 as k-diffusion's sample_dpm_2).
Table dpm2_table(const Problem& problem, Options& options, bool is_ancestral) {
    const Grid& grid = problem.grid;
    options.finish();
    const PredictionType kind = problem.prediction.kind;
    const Array middles = middle_ratios(grid, is_ancestral);
    const Array middle_alphas = middle_signal(grid, middles, problem.schedule);
    const Array times = middle_times(middles, problem.schedule);
    const size_t steps = grid.timesteps.size();
    Table table;
    for (size_t row = 0; row < 2 * steps - 1; ++row) {
        const size_t i = row / 2;
        double alpha = grid.alpha[i];
        const double ratio = grid.sigma[i] / grid.alpha[i];
        if (row % 2 == 0) {
            const Prediction raw = predict(kind, alpha, grid.sigma[i]);
            const Prediction now = clipped(raw, problem.clip, alpha, grid.sigma[i]);
            const bool last = i == steps - 1;
            Combination y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1];
            if (!last) y = (X / alpha + now.epsilon * (middles[i] - ratio)) * middle_alphas[i];
            table.add(grid.timesteps[i], raw, y, storing(problem.clip, last ? nullptr : &X));
            continue;
        }
        alpha = middle_alphas[i];
        const Prediction raw = predict(kind, alpha, alpha * middles[i]);
        const Prediction now = clipped(raw, problem.clip, alpha, alpha * middles[i]);
        const Combination start = HISTORY[0] / grid.alpha[i];
        const Ancestral to =
            is_ancestral ? ancestral(grid, i, 1.0) : Ancestral{grid.sigma[i + 1] / grid.alpha[i + 1], 0.0};
        const Combination y = (start + now.epsilon * (to.down - ratio) + NOISE * to.up) * grid.alpha[i + 1];
        table.add(times[i], raw, y, row_of(problem.clip));
    }
    return table;
}

}  // namespace

Table dpm2(const Problem& problem, Options& options) {
    return dpm2_table(problem, options, false);
}

Table dpm2_ancestral(const Problem& problem, Options& options) {
    return dpm2_table(problem, options, true);
}

Array middle_signal(const Grid& grid, const Array& ratios, const NoiseSchedule* schedule) {
    bool exploding = true;
    for (const double alpha : grid.alpha) exploding = exploding && alpha == 1;
    Array alphas(ratios.size(), 1.0);
    if (exploding) return alphas;
    for (size_t i = 0; i < ratios.size(); ++i) {
        alphas[i] = schedule ? 1 / hypot(1, ratios[i]) : 1 / (1 + ratios[i]);
    }
    return alphas;
}

Array middle_times(const Array& ratios, const NoiseSchedule* schedule) {
    if (schedule && schedule->size() < 2 && !ratios.empty()) {
        refuse("the schedule has 1 timestep, expected at least 2: this solver asks for times between");
    }
    Array times(ratios.size());
    for (size_t i = 0; i < ratios.size(); ++i) {
        times[i] =
            schedule ? sigma_to_t(ratios[i], schedule->log_sigmas) : 1000 * ratios[i] / (1 + ratios[i]);
    }
    return times;
}

}  // namespace samplers
}  // namespace genfuse
