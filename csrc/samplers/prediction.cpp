#include "samplers/prediction.h"

#include <string.h>

#include "samplers/names.h"

namespace genfuse {
namespace samplers {
namespace {

// x0 = c_skip·x + c_out·m on a grid with alpha = 1 (Karras et al. 2022, eq. 7 and table 1); v has −c_out.
Prediction edm_predict(double sigma_data, bool v_prediction, double alpha, double sigma) {
    const double sign = v_prediction ? -1.0 : 1.0;
    const double variance = pow(sigma, 2.0) + pow(sigma_data, 2.0);
    const Combination x0 =
        X * (pow(sigma_data, 2.0) / variance) + M * (sign * sigma * sigma_data / pow(variance, 0.5));
    return {x0, (X - x0 * alpha) / sigma};
}

}  // namespace

PredictionType prediction_type(const char* name, PredictionType otherwise) {
    static const char* const names[] = {"epsilon", "v_prediction", "sample", "flow_prediction"};
    return name ? static_cast<PredictionType>(check_name("prediction", name, names)) : otherwise;
}

Prediction predict(PredictionType kind, double a, double s) {
    switch (kind) {
        case PredictionType::epsilon:
            return {X / a - M * (s / a), M};
        case PredictionType::v_prediction: {
            const double rho = hypot(a, s);
            return {X * (a / pow(rho, 2.0)) - M * (s / rho), X * (s / pow(rho, 2.0)) + M * (a / rho)};
        }
        case PredictionType::sample:
            return {M, (X - M * a) / s};
        case PredictionType::flow_prediction:
            break;
    }
    const double rho = a + s;
    return {(X - M * s) / rho, (X + M * a) / rho};
}

Prediction Predictor::at(double alpha, double sigma) const {
    if (!is_edm()) return predict(kind, alpha, sigma);
    return edm_predict(sigma_data, kind == PredictionType::v_prediction, alpha, sigma);
}

}  // namespace samplers
}  // namespace genfuse
