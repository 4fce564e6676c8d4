// The nodes that a solver steps over: model time, signal and noise level of each.
#pragma once

#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

// n + 1 nodes x_i = alpha_i·x0 + sigma_i·noise, from the noisiest to the last; one step between two.
struct Grid {
    Array timesteps;     // (n,): what the model is given at nodes 0 .. n − 1
    Array alpha, sigma;  // (n + 1,)
    Array log_snr;       // (n + 1,): log(alpha/sigma), inf where sigma is 0

    Grid() = default;
    Grid(Array times, Array signal, Array noise)
        : timesteps(static_cast<Array&&>(times)),
          alpha(static_cast<Array&&>(signal)),
          sigma(static_cast<Array&&>(noise)),
          log_snr(alpha.size()) {
        for (size_t i = 0; i < alpha.size(); ++i) log_snr[i] = log(alpha[i]) - log(sigma[i]);
    }

    int64_t steps() const { return static_cast<int64_t>(timesteps.size()); }
};

}  // namespace samplers
}  // namespace genfuse
