#include "samplers/phi.h"

namespace genfuse {
namespace samplers {
namespace {

// Rounded once, as Python's exact integers are when they become numbers; 25! < 2^84.
double factorial(int n) {
    unsigned __int128 product = 1;
    for (int i = 2; i <= n; ++i) product *= static_cast<unsigned>(i);
    return static_cast<double>(product);
}

}  // namespace

double phi(int k, double z) {
    if (fabs(z) < 1.0) {
        double terms[20];
        for (int n = 0; n < 20; ++n) terms[n] = pow(z, n) / factorial(n + k);
        return exact_sum(terms, 20);
    }
    double value = exp(z);
    for (int order = 0; order < k; ++order) value = (value - 1.0 / factorial(order)) / z;
    return value;
}

double z_phi(int k, double z) {
    return z == -HUGE_VAL ? -1.0 / factorial(k - 1) : z * phi(k, z);
}

}  // namespace samplers
}  // namespace genfuse
