// A sampler as a table: one row of coefficients a model call.
#pragma once

#include <vector>

#include "samplers/grid.h"
#include "samplers/prediction.h"

namespace genfuse {
namespace samplers {

// What happens to the predicted x0: a fixed range, a dynamic threshold (Saharia et al. 2022), nothing.
struct Clip {
    double minimum = -HUGE_VAL, maximum = HUGE_VAL;
    double quantile = 0.0, threshold_max = 1.0;

    bool clips() const { return quantile > 0 || minimum > -HUGE_VAL || maximum < HUGE_VAL; }
    bool operator==(const Clip& other) const {
        return minimum == other.minimum && maximum == other.maximum && quantile == other.quantile &&
               threshold_max == other.threshold_max;
    }
};

// The two predictions of a step once x0 has been clipped: epsilon is what then remains of the sample.
Prediction clipped(const Prediction& prediction, const Clip& clip, double alpha, double sigma);

// What of a row is not its next sample.
struct RowOptions {
    Clip clip;
    const Combination* store = nullptr;  // what goes to history slot `slot`
    int64_t slot = 0;
    double log_std = 0, log_std_v = 0;  // noise is scaled by exp(log_std + log_std_v·variance)
};

struct Table {
    Array rows;         // (R, GENFUSE_ROW)
    Array timesteps;    // (R,): the time the model is given before each row
    Array input_scale;  // (R,): what the sample is multiplied by before the model sees it
    double init_scale = 1.0;

    int64_t size() const { return static_cast<int64_t>(timesteps.size()); }
    const double* row(int64_t i) const { return rows.data() + i * GENFUSE_ROW; }

    // Appends a row: y is the next sample.
    void add(double timestep, const Prediction& prediction, const Combination& y, const RowOptions& options);

    // Refuses rows that would give NaN or read what no earlier row has stored.
    void check() const;

    // Stored tensors that a run needs; where rows read any, also those that are only written.
    int history_slots() const;
    bool stochastic() const;
    void set(int column, double value);
    bool any(int column) const;
};

}  // namespace samplers
}  // namespace genfuse
