#include "samplers/exponential.h"

#include "samplers/quadrature.h"

namespace genfuse {
namespace samplers {

Array exponential_weights(const Array& nodes, double start, double end, double rate) {
    const double length = end - start;
    if (nodes.size() == 1) return {-expm1(-rate * length) / rate};
    const Quadrature rule = gauss_legendre(32);
    Array weights(nodes.size());
    for (size_t j = 0; j < nodes.size(); ++j) {
        double total = 0.0;
        for (size_t p = 0; p < rule.points.size(); ++p) {
            const double point = start + length * (rule.points[p] + 1.0) / 2.0;
            const double density = exp(rate * (point - end)) * rule.weights[p] * length / 2.0;
            double lagrange = 1.0;
            for (size_t other = 0; other < nodes.size(); ++other) {
                if (other != j) lagrange *= (point - nodes[other]) / (nodes[j] - nodes[other]);
            }
            total += density * lagrange;
        }
        weights[j] = total;
    }
    return weights;
}

}  // namespace samplers
}  // namespace genfuse
