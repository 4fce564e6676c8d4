// Ancestral sampling: each step draws from the posterior of the forward process (Ho et al. 2020).
#include "samplers/signal.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

enum VarianceType { kFixedSmall, kFixedLarge, kLearned, kLearnedRange };

constexpr double kSmallestVariance = 1e-20;

// Coefficient of the noise, and the exponent a + b·variance, in variance-preserving scale.
struct Spread {
    double std, a, b;
};

Spread spread(size_t variance_type, const Node& here, const Node& there, double beta) {
    const double small = there.noise / here.noise * beta;
    if (variance_type == kFixedSmall) return {sqrt(small), 0.0, 0.0};
    if (variance_type == kFixedLarge) return {sqrt(beta), 0.0, 0.0};
    if (variance_type == kLearned) return {1.0, 0.0, 0.5};
    const double low = log(larger(small, kSmallestVariance)), high = log(beta);
    return {1.0, (high + low) / 4, (high - low) / 4};
}

}  // namespace

// x' = E[x' | x, x0] + √v·z (Ho et al. 2020, eq. 6 and 7), here between any two nodes.
Table ddpm(const Problem& problem, Options& options) {
    static const char* const variance_types[] = {"fixed_small", "fixed_large", "learned", "learned_range"};
    const Grid& grid = problem.grid;
    const size_t variance_type = options.choice("variance_type", "fixed_small", variance_types);
    const bool final_noise = options.flag("final_noise", false);
    options.finish();
    Table table;
    for (size_t i = 0; i < grid.timesteps.size(); ++i) {
        const Node here = node(grid, i), there = node(grid, i + 1);
        const double beta = 1 - here.signal / there.signal;
        const Combination mean =
            (X0 * (sqrt(there.signal) * beta / here.noise) +
             X * (sqrt(here.signal / there.signal) * there.noise / here.noise / here.scale)) *
            there.scale;
        const bool noisy = grid.sigma[i + 1] > 0 || (final_noise && grid.timesteps[i] > 0);
        const Spread noise = spread(variance_type, here, there, beta);
        RowOptions row = row_of(problem.clip);
        if (noisy) {
            row.log_std = noise.a;
            row.log_std_v = noise.b;
        }
        table.add(grid.timesteps[i], problem.prediction.at(grid, i),
                  noisy ? mean + NOISE * (noise.std * there.scale) : mean, row);
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
