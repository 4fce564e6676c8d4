// Which nodes a sampler steps over: timesteps and sigmas of a noise schedule, and the grid of them.
#pragma once

#include "samplers/grid.h"
#include "samplers/schedule.h"

namespace genfuse {
namespace samplers {

// (steps,) descending training times in [0, num_train_timesteps): "leading", "linspace" or "trailing" (Lin et
// al. 2024, table 2).
Array spaced_timesteps(const char* spacing, int64_t steps, int64_t num_train_timesteps);

void check_steps(int64_t steps, int64_t num_train_timesteps);

// Refuses times that are not strictly descending within [0, num_train_timesteps − 1].
void check_timesteps(const Array& timesteps, int64_t num_train_timesteps);

// Refuses levels that are not strictly descending, finite and at least 0, or fewer than two.
void check_sigmas(const Array& sigmas);

// The variance-preserving grid at training times, the last node without noise.
Grid timestep_grid(const NoiseSchedule& schedule, const Array& timesteps);

// The variance-preserving grid over noise-to-signal levels sigmas (n + 1,).
Grid sigma_grid(const NoiseSchedule& schedule, const Array& sigmas);

}  // namespace samplers
}  // namespace genfuse
