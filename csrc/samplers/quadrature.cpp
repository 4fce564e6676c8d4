#include "samplers/quadrature.h"

namespace genfuse {
namespace samplers {
namespace {

// P(x) and P'(x) by Bonnet's recursion.
void legendre(int degree, double x, double* value, double* slope) {
    double before = 1.0, now = x;
    for (int k = 2; k <= degree; ++k) {
        const double next =
            (static_cast<double>(2 * k - 1) * x * now - static_cast<double>(k - 1) * before) / k;
        before = now;
        now = next;
    }
    *value = now;
    *slope = static_cast<double>(degree) * (x * now - before) / (x * x - 1.0);
}

}  // namespace

Quadrature gauss_legendre(int count) {
    Quadrature result{Array(static_cast<size_t>(count)), Array(static_cast<size_t>(count))};
    for (int i = 0; i < (count + 1) / 2; ++i) {
        double value, slope;
        double x = cos(M_PI * (i + 0.75) / (count + 0.5));
        for (int iteration = 0; iteration < 10; ++iteration) {
            legendre(count, x, &value, &slope);
            x -= value / slope;
        }
        if (2 * i + 1 == count) x = 0.0;
        legendre(count, x, &value, &slope);
        const size_t low = static_cast<size_t>(i), high = static_cast<size_t>(count - 1 - i);
        result.points[low] = -x;
        result.points[high] = x;
        result.weights[low] = result.weights[high] = 2.0 / ((1.0 - x * x) * slope * slope);
    }
    return result;
}

}  // namespace samplers
}  // namespace genfuse
