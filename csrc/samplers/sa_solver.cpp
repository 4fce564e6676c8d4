// SA-Solver: a stochastic Adams predictor and corrector for the diffusion SDE with any amount of noise.
#include "common/error.h"
#include "samplers/exponential.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

// Weight of the output at a node.
struct Weight {
    int64_t node;
    double weight;
};
using Weights = std::vector<Weight>;

// tau of the paper's latent experiments: 1 from timestep 200 to 800 of 1000, else 0.
double noise_in_the_middle(double timestep, void*) {
    return 200 <= timestep && timestep <= 800 ? 1.0 : 0.0;
}

const Weight* find(const Weights& weights, int64_t node) {
    for (const Weight& weight : weights) {
        if (weight.node == node) return &weight;
    }
    return nullptr;
}

// What each output at nodes `newest`, `newest` − 1, .. adds to the step from node `start` to the next.
Weights weights_of(const Grid& grid, int64_t start, int64_t newest, int64_t count, double tau,
                   bool predicts_noise) {
    const Array& log_snr = grid.log_snr;
    const auto at = [](int64_t node) { return static_cast<size_t>(node); };
    Weights used;
    Array nodes;
    for (int64_t j = newest; j > newest - count; --j) {
        if (j != newest && !isfinite(log_snr[at(j)])) continue;
        used.push_back({j, 0.0});
        nodes.push_back(log_snr[at(j)]);
    }
    const double begin = log_snr[at(start)], end = log_snr[at(start + 1)], share = 1.0 + pow(tau, 2.0);
    Array weights;
    if (predicts_noise) {
        weights = exponential_weights(nodes, begin, end, -1.0);
        for (double& weight : weights) weight = -share * grid.sigma[at(start + 1)] * weight;
    } else if (used.size() == 2) {
        const double slope = share * pow(end - begin, 2.0) / 2 / (nodes[0] - nodes[1]);
        weights = {slope, -slope};
        if (used[0].node != start && used[1].node != start) {
            refuse("node %lld of the grid has no signal, expected some: SA-Solver cannot correct from it",
                   static_cast<long long>(start));
        }
        weights[used[0].node == start ? 0 : 1] -= expm1(-share * (end - begin));
        for (double& weight : weights) weight *= grid.alpha[at(start + 1)];
    } else {
        weights = exponential_weights(nodes, begin, end, share);
        for (double& weight : weights) weight = share * grid.alpha[at(start + 1)] * weight;
    }
    for (size_t j = 0; j < used.size(); ++j) used[j].weight = weights[j];
    return used;
}

Combination combine(const Weights& weights, int64_t i, const Combination& output, int64_t slots) {
    Combination total = ZERO;
    for (const Weight& weight : weights) {
        total = total + (weight.node == i ? output : HISTORY[weight.node % slots]) * weight.weight;
    }
    return total;
}

// What the sample is multiplied by over step i, and the standard deviation of its noise.
struct Transition {
    double decay, noise;
};

Transition transition(const Grid& grid, size_t i, double tau, bool predicts_noise) {
    const double step = grid.log_snr[i + 1] - grid.log_snr[i];
    if (predicts_noise) {
        const double noise = tau > 0 ? tau * grid.sigma[i + 1] * sqrt(expm1(2 * step)) : 0.0;
        return {grid.alpha[i + 1] / grid.alpha[i], noise};
    }
    if (tau == 0) return {grid.sigma[i + 1] / grid.sigma[i], 0.0};
    const double decay = exp(-pow(tau, 2.0) * step) * grid.sigma[i + 1] / grid.sigma[i];
    return {decay, grid.sigma[i + 1] * sqrt(-expm1(-2 * pow(tau, 2.0) * step))};
}

// known − predicted, by node, the known ones first.
Weights difference(const Weights& known, const Weights& predicted) {
    Weights change;
    for (const Weight& one : known) {
        const Weight* const other = find(predicted, one.node);
        change.push_back({one.node, one.weight - (other ? other->weight : 0.0)});
    }
    for (const Weight& one : predicted) {
        if (!find(known, one.node)) change.push_back({one.node, 0.0 - one.weight});
    }
    return change;
}

}  // namespace

// SA-Predictor and SA-Corrector (Xue et al. 2023, eq. 14 and 17), tau constant over each step. Both start
// from the same sample and add the same noise, so one row corrects the sample it is given and predicts the
// next.
Table sa_solver(const Problem& problem, Options& options) {
    static const char* const parametrizations[] = {"data_prediction", "noise_prediction"};
    const Grid& grid = problem.grid;
    const int64_t predictor_order = options.within("predictor_order", 2, 1, 4);
    const int64_t corrector_order = options.within("corrector_order", 2, 1, 4);
    const bool predicts_noise = options.choice("parametrization", "data_prediction", parametrizations) == 1;
    const bool lower_order_final = options.flag("lower_order_final", true);
    options.finish();
    const auto tau = options.tau ? options.tau : noise_in_the_middle;
    const int64_t steps = grid.steps(), slots = most(predictor_order, corrector_order - 1);
    Weights predicted;
    Table table;
    for (int64_t i = 0; i < steps; ++i) {
        const size_t at = static_cast<size_t>(i);
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        const Combination& output = predicts_noise ? now.epsilon : now.x0;

        Combination corrected = X;
        if (i > 0) {
            int64_t order = least(corrector_order, i + 1);
            if (lower_order_final) order = least(order, steps - i + 2);
            const double before = tau(grid.timesteps[at - 1], options.tau_context);
            const Weights known = weights_of(grid, i - 1, i, order, before, predicts_noise);
            corrected = X + combine(difference(known, predicted), i, output, slots);
        }

        const double tau_now = tau(grid.timesteps[at], options.tau_context);
        int64_t order = least(predictor_order, i + 1);
        if (lower_order_final) order = least(order, steps - i);
        if (!(grid.sigma[at + 1] > 0)) order = 1;
        predicted = weights_of(grid, i, i, order, tau_now, predicts_noise);
        const Transition to = transition(grid, at, tau_now, predicts_noise);
        const Combination y = corrected * to.decay + combine(predicted, i, output, slots) + NOISE * to.noise;
        table.add(grid.timesteps[at], raw, y, storing(problem.clip, &output, i % slots));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
