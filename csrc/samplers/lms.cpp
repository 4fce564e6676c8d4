// LMS: the slopes of the last steps, interpolated by a polynomial in sigma and integrated.
#include "samplers/quadrature.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

// (k,) integrals from start to stop of the polynomials that are 1 at one of k nodes and 0 at the others, by
// Gauss-Legendre with k points.
Array lagrange_integrals(const Array& nodes, double start, double stop) {
    const Quadrature rule = gauss_legendre(static_cast<int>(nodes.size()));
    Array integrals(nodes.size());
    for (size_t j = 0; j < nodes.size(); ++j) {
        double total = 0.0;
        for (size_t p = 0; p < nodes.size(); ++p) {
            const double point = (stop - start) / 2 * rule.points[p] + (stop + start) / 2;
            double value = 1.0;
            for (size_t other = 0; other < nodes.size(); ++other) {
                if (other != j) value *= (point - nodes[other]) / (nodes[j] - nodes[other]);
            }
            total += value * rule.weights[p];
        }
        integrals[j] = total * ((stop - start) / 2);
    }
    return integrals;
}

}  // namespace

// x'/alpha' = x/alpha + Σ_j c_j·epsilon_j: Adams-Bashforth on uneven nodes (k-diffusion's sample_lms).
Table lms(const Problem& problem, Options& options) {
    const Grid& grid = problem.grid;
    const int64_t order = options.within("order", 4, 1, 5);  // the current slope and four stored ones
    options.finish();
    const int64_t slots = most(order - 1, 1);
    Array ratio(grid.alpha.size());
    for (size_t i = 0; i < ratio.size(); ++i) ratio[i] = grid.sigma[i] / grid.alpha[i];
    Table table;
    for (int64_t i = 0; i < grid.steps(); ++i) {
        const size_t at = static_cast<size_t>(i);
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        Array nodes;
        for (int64_t j = i; j > i - least(order, i + 1); --j) nodes.push_back(ratio[static_cast<size_t>(j)]);
        const Array weights = lagrange_integrals(nodes, ratio[at], ratio[at + 1]);
        Combination total = X / grid.alpha[at] + now.epsilon * weights[0];
        for (size_t back = 1; back < weights.size(); ++back) {
            total = total + HISTORY[(i - static_cast<int64_t>(back)) % slots] * weights[back];
        }
        table.add(grid.timesteps[at], raw, total * grid.alpha[at + 1],
                  storing(problem.clip, order > 1 ? &now.epsilon : nullptr, i % slots));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
