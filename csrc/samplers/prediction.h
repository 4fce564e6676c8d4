// What a network predicts, as x0 and noise linear in the sample and its output.
#pragma once

#include "samplers/combination.h"
#include "samplers/grid.h"

namespace genfuse {
namespace samplers {

// x0 and epsilon of one node, both combinations of x and m alone (before any clipping).
struct Prediction {
    Combination x0, epsilon;
};

enum class PredictionType { epsilon, v_prediction, sample, flow_prediction };

// Of a name; an unknown one is refused, NULL stands for `otherwise`.
PredictionType prediction_type(const char* name, PredictionType otherwise);

// x0 and epsilon where x = alpha·x0 + sigma·epsilon, in whatever scale alpha and sigma are (Python's
// `predict`).
Prediction predict(PredictionType kind, double alpha, double sigma);

// How a network's output is read: by its type, or through EDM's preconditioning.
struct Predictor {
    PredictionType kind = PredictionType::epsilon;
    double sigma_data = 0;  // above 0: EDM's

    bool is_edm() const { return sigma_data > 0; }
    Prediction at(double alpha, double sigma) const;
    Prediction at(const Grid& grid, size_t node) const { return at(grid.alpha[node], grid.sigma[node]); }
};

}  // namespace samplers
}  // namespace genfuse
