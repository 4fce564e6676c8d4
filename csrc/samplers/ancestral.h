// Down to r_down, then fresh noise up to r' (k-diffusion's ancestral step), r = sigma/alpha.
#pragma once

#include "samplers/grid.h"

namespace genfuse {
namespace samplers {

struct Ancestral {
    double down, up;
};

// r_up = eta·r'·√(1 − r'²/r²), r_down = √(r'² − r_up²) of the step from node i.
inline Ancestral ancestral(const Grid& grid, size_t i, double eta) {
    const double there = grid.sigma[i + 1] / grid.alpha[i + 1];
    const double kept = grid.alpha[i] * there / grid.sigma[i];
    const double up = eta * there * sqrt(larger(1 - pow(kept, 2.0), 0.0));
    return {sqrt(larger(pow(there, 2.0) - pow(up, 2.0), 0.0)), up};
}

}  // namespace samplers
}  // namespace genfuse
