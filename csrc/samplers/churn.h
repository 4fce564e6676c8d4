// Noise added before a step, to undo what earlier steps got wrong (Karras et al. 2022, algorithm 2).
#pragma once

#include "samplers/combination.h"
#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

// sigma grows where minimum <= sigma <= maximum.
struct Churn {
    double churn = 0.0, minimum = 0.0, maximum = HUGE_VAL, noise = 1.0;

    // sigma·(1 + gamma), gamma = min(churn/steps, √2 − 1).
    double raised(double sigma, int64_t steps) const {
        const bool within = minimum <= sigma && sigma <= maximum;
        const double gamma = smaller(churn / static_cast<double>(steps), pow(2.0, 0.5) - 1);
        return sigma * (1.0 + (within ? gamma : 0.0));
    }

    // The sample lifted from sigma to the raised level.
    Combination sample(double sigma, double raised) const {
        if (!(raised > sigma)) return X;
        return X + NOISE * (noise * pow(pow(raised, 2.0) - pow(sigma, 2.0), 0.5));
    }
};

}  // namespace samplers
}  // namespace genfuse
