// PNDM: DDIM's transfer with a slope from several model calls, the linear multistep method.
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

// One row: the model is called at a time, and the sample of one level moves to another.
struct Hop {
    double timestep, alpha, sigma, alpha_next, sigma_next;

    // x at the first level moved to the second along output m (Liu et al. 2022, eq. 11).
    Combination transfer(PredictionType kind, const Combination& x, const Combination& m) const {
        const Combination of = predict(kind, alpha, sigma).epsilon;
        const Combination epsilon = x * of.coefficients[kTermX] + m * of.coefficients[kTermM];
        const double growth = alpha_next / alpha;
        return x * growth + epsilon * (sigma_next - sigma * growth);
    }

    // The x that `transfer` moved along m: its inverse.
    Combination origin(PredictionType kind, const Combination& moved, const Combination& m) const {
        const Combination of = transfer(kind, X, M);
        return (moved - m * of.coefficients[kTermM]) / of.coefficients[kTermX];
    }
};

}  // namespace

// The linear multistep method of Liu et al. 2022 (eq. 12), n + 1 rows: the first step is taken twice, by
// Euler, then again from its start with the slope averaged over both ends.
Table pndm(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    options.finish();
    const size_t steps = grid.timesteps.size(), rows = steps > 1 ? steps + 1 : 1;
    const auto hop = [&](size_t row) -> Hop {
        const size_t i = row == 0 ? 0 : row - 1, time = row == 1 ? 1 : i;
        return {grid.timesteps[time], grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1]};
    };
    // What is averaged: the output, or epsilon where x0 is clipped.
    const bool plain = problem.clip == Clip();
    const PredictionType kind = plain ? problem.prediction.kind : PredictionType::epsilon;
    int64_t stored = 0;
    Table table;
    for (size_t row = 0; row < rows; ++row) {
        const Hop now = hop(row);
        const Prediction raw = predict(problem.prediction.kind, now.alpha, now.sigma);
        const Combination slope = plain ? M : clipped(raw, problem.clip, now.alpha, now.sigma).epsilon;
        if (row == 1) {
            const Combination start = hop(0).origin(kind, X, HISTORY[0]);
            const Combination y = now.transfer(kind, start, (slope + HISTORY[0]) / 2);
            table.add(now.timestep, raw, y, row_of(problem.clip));
            continue;
        }
        const int64_t older = least(stored, 3);
        const double* const weights = ADAMS_BASHFORTH[older];
        Combination average = slope * weights[0];
        for (int64_t back = 1; back <= older; ++back) {
            average = average + HISTORY[(stored - back) % 3] * weights[back];
        }
        table.add(now.timestep, raw, now.transfer(kind, X, average),
                  storing(problem.clip, &slope, stored % 3));
        ++stored;
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
