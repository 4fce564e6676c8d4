#include "samplers/spacing.h"

#include "common/error.h"
#include "samplers/names.h"
#include "samplers/sigmas.h"

namespace genfuse {
namespace samplers {
namespace {

Array leading(int64_t steps, int64_t count) {
    Array times(static_cast<size_t>(steps));
    const double stride = static_cast<double>(count / steps);
    for (int64_t i = 0; i < steps; ++i) {
        times[static_cast<size_t>(i)] = static_cast<double>(steps - 1 - i) * stride;
    }
    return times;
}

Array even(int64_t steps, int64_t count) {
    const Array ascending = linspace(0, static_cast<double>(count - 1), steps);
    Array times(ascending.size());
    for (size_t i = 0; i < times.size(); ++i) times[i] = rint(ascending[times.size() - 1 - i]);
    return times;
}

// numpy.arange(count, 0, −stride): its stride is the difference of its first two values.
Array trailing(int64_t steps, int64_t count) {
    Array times(static_cast<size_t>(steps));
    const double first = static_cast<double>(count);
    const double stride = first + -(first / static_cast<double>(steps)) - first;
    for (int64_t i = 0; i < steps; ++i) {
        times[static_cast<size_t>(i)] = rint(first + static_cast<double>(i) * stride) - 1;
    }
    return times;
}

double interpolated_sigma(const NoiseSchedule& schedule, double timestep) {
    const double sigma = interpolate(timestep, schedule.sigmas);
    if (!isfinite(sigma) && timestep != rint(timestep)) {
        refuse(
            "timesteps has %g, between the last two of a schedule with zero terminal SNR, where sigma is "
            "inf; use whole times, or finite_sigmas",
            timestep);
    }
    return sigma;
}

}  // namespace

void check_steps(int64_t steps, int64_t num_train_timesteps) {
    if (steps < 1 || steps > num_train_timesteps) {
        refuse("steps is %lld, expected 1 to %lld: the schedule has no more timesteps",
               static_cast<long long>(steps), static_cast<long long>(num_train_timesteps));
    }
}

Array spaced_timesteps(const char* spacing, int64_t steps, int64_t num_train_timesteps) {
    static const char* const names[] = {"leading", "linspace", "trailing"};
    static Array (*const spaced[])(int64_t, int64_t) = {leading, even, trailing};
    return spaced[check_name("spacing", spacing, names)](steps, num_train_timesteps);
}

void check_timesteps(const Array& timesteps, int64_t num_train_timesteps) {
    for (size_t i = 1; i < timesteps.size(); ++i) {
        if (!(timesteps[i] < timesteps[i - 1])) {
            refuse("timesteps has %g behind %g, expected strictly descending times", timesteps[i],
                   timesteps[i - 1]);
        }
    }
    if (timesteps.empty() || !(timesteps.back() >= 0) ||
        !(timesteps[0] <= static_cast<double>(num_train_timesteps - 1))) {
        refuse("timesteps goes from %g to %g, expected at least one time, in [0, %lld]",
               timesteps.empty() ? NAN : timesteps[0], timesteps.empty() ? NAN : timesteps.back(),
               static_cast<long long>(num_train_timesteps - 1));
    }
}

void check_sigmas(const Array& sigmas) {
    if (sigmas.size() < 2) {
        refuse("sigmas has %zu levels, expected at least 2: the last is the final level", sigmas.size());
    }
    for (size_t i = 0; i < sigmas.size(); ++i) {
        if (!isfinite(sigmas[i]) || sigmas[i] < 0 || (i > 0 && !(sigmas[i] < sigmas[i - 1]))) {
            refuse("sigmas[%zu] is %g, expected strictly descending finite levels, the last >= 0", i,
                   sigmas[i]);
        }
    }
}

Grid timestep_grid(const NoiseSchedule& schedule, const Array& timesteps) {
    bool whole = true;
    for (const double time : timesteps) whole = whole && floor(time) == time;
    Array alpha, sigma;
    alpha.reserve(timesteps.size() + 1);
    sigma.reserve(timesteps.size() + 1);
    for (const double time : timesteps) {
        const double level = whole ? schedule.alphas_cumprod[static_cast<size_t>(time)]
                                   : 1 / (1 + square(interpolated_sigma(schedule, time)));
        alpha.push_back(sqrt(level));
        sigma.push_back(sqrt(1 - level));
    }
    alpha.push_back(1.0);
    sigma.push_back(0.0);
    return Grid(timesteps, alpha, sigma);
}

Grid sigma_grid(const NoiseSchedule& schedule, const Array& sigmas) {
    if (schedule.size() < 2) refuse("sigmas are given, expected a schedule of at least 2 timesteps");
    Array times, alpha, noise;
    for (size_t i = 0; i < sigmas.size(); ++i) {
        if (i + 1 < sigmas.size()) times.push_back(sigma_to_t(sigmas[i], schedule.log_sigmas));
        alpha.push_back(1 / hypot(1, sigmas[i]));
        noise.push_back(sigmas[i] * alpha[i]);
    }
    return Grid(times, alpha, noise);
}

}  // namespace samplers
}  // namespace genfuse
