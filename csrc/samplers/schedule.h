// Noise schedules: how much signal is left at each training timestep.
#pragma once

#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

// x_t = √alphas_cumprod[t]·x0 + √(1 − alphas_cumprod[t])·noise for t = 0 .. T − 1, descending in [0, 1].
struct NoiseSchedule {
    Array alphas_cumprod;
    Array sigmas;      // √((1 − alphas_cumprod)/alphas_cumprod); inf at zero terminal SNR
    Array log_sigmas;  // −log SNR / 2

    NoiseSchedule() = default;
    explicit NoiseSchedule(Array levels);

    int64_t size() const { return static_cast<int64_t>(alphas_cumprod.size()); }
};

// Betas of a name: "linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp".
Array named_betas(const char* name, int64_t num_train_timesteps, double beta_start, double beta_end);

// alphas_cumprod of betas in [0, 1]; rescaled so that the last is 0 (Lin et al. 2024, algorithm 1), or the
// last replaced by 2⁻²⁴ so that its sigma is finite.
Array levels_of_betas(Array betas, bool zero_terminal_snr, bool finite_sigmas);

}  // namespace samplers
}  // namespace genfuse
