// Gauss-Legendre points, as Python's samplers/quadrature.py computes them.
#pragma once

#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

struct Quadrature {
    Array points, weights;
};

// Σ weights·f(points) is the integral over [−1, 1], exact to degree 2·count − 1.
Quadrature gauss_legendre(int count);

}  // namespace samplers
}  // namespace genfuse
