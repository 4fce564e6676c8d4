#include "samplers/levels.h"

#include <string.h>

#include "common/error.h"
#include "samplers/names.h"
#include "samplers/sigmas.h"
#include "samplers/spacing.h"

namespace genfuse {
namespace samplers {
namespace {

constexpr int64_t kFlowTimesteps = 1000;  // flow networks are given 1000·sigma

}  // namespace

Ends ScheduleLevels::at(double timestep) const {
    const Array& levels = schedule_.alphas_cumprod;
    const double last = static_cast<double>(levels.size() - 1);
    const double low = clamp(floor(timestep), 0, last);
    double level = levels[static_cast<size_t>(low)];
    if (low != timestep) {  // between whole times log sigma/alpha is linear
        level = 1 / (1 + exp(2 * interpolate(timestep, schedule_.log_sigmas)));
    }
    return {sqrt(level), sqrt(1 - level)};
}

Grid ScheduleLevels::grid(int64_t steps, const Nodes& nodes) const {
    if (nodes.given_timesteps) {
        check_timesteps(nodes.timesteps, schedule_.size());
        return timestep_grid(schedule_, nodes.timesteps);
    }
    if (nodes.given_sigmas) {
        check_sigmas(nodes.sigmas);
        return sigma_grid(schedule_, nodes.sigmas);
    }
    check_steps(steps, schedule_.size());
    if (!nodes.sigma_kind) {
        const char* const spacing = nodes.spacing ? nodes.spacing : "trailing";
        return timestep_grid(schedule_, spaced_timesteps(spacing, steps, schedule_.size()));
    }
    const Array& ends = schedule_.sigmas;
    Array levels = spaced_sigmas(nodes.sigma_kind, ends.front(), ends.back(), steps);
    levels.push_back(0.0);
    return sigma_grid(schedule_, levels);
}

Predictor ScheduleLevels::predictor(const char* prediction) const {
    return {prediction_type(prediction, PredictionType::epsilon), 0};
}

Ends FlowLevels::at(double timestep) const {
    const double sigma = timestep / kFlowTimesteps;
    return {1 - sigma, sigma};
}

Grid FlowLevels::grid(int64_t steps, const Nodes& nodes) const {
    if (nodes.spacing) {
        refuse("spacing is '%.40s', expected none: a flow's levels are even; pass timesteps or sigmas",
               nodes.spacing);
    }
    if (nodes.sigma_kind) {
        refuse("sigmas is '%.40s', expected levels in [0, 1]: a flow has no such spacing", nodes.sigma_kind);
    }
    Array levels;
    if (nodes.given_timesteps) {
        check_timesteps(nodes.timesteps, kFlowTimesteps + 1);
        for (const double time : nodes.timesteps) levels.push_back(time / kFlowTimesteps);
        levels.push_back(0.0);
    } else if (nodes.given_sigmas) {
        levels = nodes.sigmas;
    } else {
        check_steps(steps, kFlowTimesteps);
        levels = linspace(1.0, 0.0, steps + 1);
    }
    check_sigmas(levels);
    if (levels[0] > 1) refuse("sigmas starts at %g, expected levels in [0, 1] for a flow", levels[0]);
    Array times, alpha;
    for (size_t i = 0; i < levels.size(); ++i) {
        if (i + 1 < levels.size()) times.push_back(levels[i] * kFlowTimesteps);
        alpha.push_back(1 - levels[i]);
    }
    return Grid(times, alpha, levels);
}

Predictor FlowLevels::predictor(const char* prediction) const {
    return {prediction_type(prediction, PredictionType::flow_prediction), 0};
}

EDM::EDM(double sigma_min, double sigma_max, double rho, double sigma_data)
    : sigma_min_(sigma_min), sigma_max_(sigma_max), rho_(rho), sigma_data_(sigma_data) {
    const struct {
        const char* name;
        double value;
    } given[] = {
        {"sigma_min", sigma_min}, {"sigma_max", sigma_max}, {"rho", rho}, {"sigma_data", sigma_data}};
    for (const auto& one : given) {
        if (!(one.value > 0) || !isfinite(one.value)) {
            refuse("%s is %g, expected a finite number above 0", one.name, one.value);
        }
    }
    if (!(sigma_min < sigma_max)) {
        refuse("sigma_max is %g, expected more than sigma_min = %g", sigma_max, sigma_min);
    }
}

Ends EDM::at(double timestep) const {
    return {1.0, exp(4 * timestep)};
}

Grid EDM::grid(int64_t steps, const Nodes& nodes) const {
    if (nodes.spacing || nodes.given_timesteps) {
        refuse("%s is given, expected none: EDM's levels are sigmas; pass those",
               nodes.spacing ? "spacing" : "timesteps");
    }
    Array levels;
    if (nodes.given_sigmas) {
        levels = nodes.sigmas;
        check_sigmas(levels);
    } else {
        if (steps < 1) refuse("steps is %lld, expected at least 1", static_cast<long long>(steps));
        const char* const kind = nodes.sigma_kind ? nodes.sigma_kind : "karras";
        const bool own = strcmp(kind, "karras") == 0;
        levels = own ? karras(sigma_min_, sigma_max_, steps, rho_)
                     : spaced_sigmas(kind, sigma_min_, sigma_max_, steps);
        levels.push_back(0.0);
    }
    Array times;
    for (size_t i = 0; i + 1 < levels.size(); ++i) times.push_back(log(levels[i]) / 4);
    return Grid(times, Array(levels.size(), 1.0), levels);
}

Predictor EDM::predictor(const char* prediction) const {
    static const char* const names[] = {"epsilon", "v_prediction"};
    const size_t which = prediction ? check_name("prediction", prediction, names) : 0;
    return {which == 0 ? PredictionType::epsilon : PredictionType::v_prediction, sigma_data_};
}

void EDM::scale(Table* table, const Array& sigma) const {
    for (size_t i = 0; i < sigma.size(); ++i) table->input_scale[i] = 1 / hypot(sigma[i], sigma_data_);
    table->init_scale = sigma[0];
}

}  // namespace samplers
}  // namespace genfuse
