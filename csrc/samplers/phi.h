// The φ functions of exponential integrators.
#pragma once

#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

// φ_k(z) = ∫₀¹ e^{(1−u)z} u^{k−1}/(k−1)! du (Hochbruck & Ostermann 2010, eq. 2.10).
double phi(int k, double z);

// z·φ_k(z) for k >= 1, and its limit −1/(k − 1)! at z = −inf.
double z_phi(int k, double z);

}  // namespace samplers
}  // namespace genfuse
