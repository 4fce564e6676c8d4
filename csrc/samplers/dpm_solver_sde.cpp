// DPM-Solver++ SDE with a midpoint: two model calls a step, the second from the step's own sample.
#include "samplers/middle.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

// The grid with the geometric mean of sigma/alpha put between each two nodes that have noise.
Grid midpoint_grid(const Grid& grid, const NoiseSchedule* schedule) {
    const size_t steps = grid.timesteps.size();
    Array ratio(steps + 1), middle;
    for (size_t i = 0; i <= steps; ++i) ratio[i] = grid.sigma[i] / grid.alpha[i];
    for (size_t i = 0; i < steps; ++i) {
        if (ratio[i + 1] > 0) middle.push_back(sqrt(ratio[i] * ratio[i + 1]));
    }
    const Array signal = middle_signal(grid, middle, schedule), between = middle_times(middle, schedule);
    Array times, alpha, sigma;
    size_t next = 0;
    for (size_t i = 0; i <= steps; ++i) {
        if (i < steps) times.push_back(grid.timesteps[i]);
        alpha.push_back(grid.alpha[i]);
        sigma.push_back(grid.sigma[i]);
        if (i == steps || !(ratio[i + 1] > 0)) continue;
        times.push_back(between[next]);
        alpha.push_back(signal[next]);
        sigma.push_back(middle[next] * signal[next]);
        ++next;
    }
    return Grid(times, alpha, sigma);
}

}  // namespace

// k-diffusion's sample_dpmpp_sde (Lu et al. 2022b, algorithm 1, with noise). Rows: step, midpoint, step, ..;
// both halves of a step share a Brownian path.
Table dpmpp_sde(const Problem& problem, Options& options) {
    const double s_noise = options.not_negative("s_noise", 1.0);
    options.finish();
    const Grid rows = midpoint_grid(problem.grid, problem.schedule);
    Array ratio(rows.alpha.size());
    for (size_t i = 0; i < ratio.size(); ++i) ratio[i] = rows.sigma[i] / rows.alpha[i];
    Table table;
    for (size_t row = 0; row < rows.timesteps.size(); ++row) {
        const Prediction raw = problem.prediction.at(rows, row);
        const Combination x0 = clipped(raw, problem.clip, rows.alpha[row], rows.sigma[row]).x0;
        const bool second = row % 2 == 1;
        const size_t s = second ? row - 1 : row, t = row + 1;
        const Combination start = second ? HISTORY[0] : X;
        Combination noise = NOISE;
        if (second) {
            const double share = (ratio[s] - ratio[row]) / (ratio[s] - ratio[t]);
            noise = NOISE_PREV * sqrt(share) + NOISE * sqrt(1.0 - share);
        }
        const double down = pow(ratio[t] / ratio[s], 2.0);
        const double up = ratio[t] * sqrt(1.0 - down);
        const Combination y = start / rows.alpha[s] * down + x0 * (1.0 - down) + noise * (s_noise * up);
        const bool keeps = !second && ratio[t] > 0;
        table.add(rows.timesteps[row], raw, y * rows.alpha[t], storing(problem.clip, keeps ? &X : nullptr));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
