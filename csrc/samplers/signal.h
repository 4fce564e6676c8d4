// A node of a grid as papers on the variance-preserving process write it, whatever scale the sample is in.
#pragma once

#include "samplers/grid.h"

namespace genfuse {
namespace samplers {

// signal = alphas_cumprod, noise = 1 − alphas_cumprod, scale = the sample's standard deviation.
struct Node {
    double signal, noise, scale;
};

// The node of x = alpha·x0 + sigma·noise.
inline Node level(double alpha, double sigma) {
    const double power = pow(alpha, 2.0) + pow(sigma, 2.0);
    return {pow(alpha, 2.0) / power, pow(sigma, 2.0) / power, pow(power, 0.5)};
}

inline Node node(const Grid& grid, size_t i) {
    return level(grid.alpha[i], grid.sigma[i]);
}

}  // namespace samplers
}  // namespace genfuse
