// Weights of the multistep methods that integrate an exponential times a polynomial through past outputs.
#pragma once

#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

// w_j = ∫_start^end e^{rate·(λ − end)}·L_j(λ) dλ, with L_j the Lagrange polynomials of `nodes`.
Array exponential_weights(const Array& nodes, double start, double end, double rate);

}  // namespace samplers
}  // namespace genfuse
