// Noise levels to step over: sequences of sigma between two ends, and where they lie in training time.
#pragma once

#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

// (steps,) from sigma_max down to sigma_min, even in sigma^(1/rho) (Karras et al. 2022, eq. 5).
Array karras(double sigma_min, double sigma_max, int64_t steps, double rho);

// (steps,) descending sigmas of a kind: "karras", "exponential", "beta" or "lu".
Array spaced_sigmas(const char* kind, double sigma_min, double sigma_max, int64_t steps);

// The training time of a sigma: log sigma interpolated linearly in the schedule's log_sigmas (T,), T > 1.
double sigma_to_t(double sigma, const Array& log_sigmas);

}  // namespace samplers
}  // namespace genfuse
