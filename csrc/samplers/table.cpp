#include "samplers/table.h"

#include "common/error.h"

namespace genfuse {
namespace samplers {

Prediction clipped(const Prediction& prediction, const Clip& clip, double alpha, double sigma) {
    if (!clip.clips()) return prediction;
    return {X0, (X - X0 * alpha) / sigma};
}

void Table::add(double timestep, const Prediction& prediction, const Combination& y,
                const RowOptions& options) {
    rows.resize(rows.size() + GENFUSE_ROW);
    double* const row = rows.data() + rows.size() - GENFUSE_ROW;
    row[GENFUSE_COLUMN_x0_x] = prediction.x0.coefficients[kTermX];
    row[GENFUSE_COLUMN_x0_m] = prediction.x0.coefficients[kTermM];
    row[GENFUSE_COLUMN_clip_min] = options.clip.minimum;
    row[GENFUSE_COLUMN_clip_max] = options.clip.maximum;
    row[GENFUSE_COLUMN_guidance] = 1.0;
    row[GENFUSE_COLUMN_quantile] = options.clip.quantile;
    row[GENFUSE_COLUMN_threshold_max] = options.clip.threshold_max;
    row[GENFUSE_COLUMN_log_std] = options.log_std;
    row[GENFUSE_COLUMN_log_std_v] = options.log_std_v;
    const Combination& stored = options.store ? *options.store : ZERO;
    for (int term = 0; term < kTerms; ++term) {
        row[GENFUSE_COLUMN_y_x + term] = y.coefficients[term];
        row[GENFUSE_COLUMN_s_x + term] = stored.coefficients[term];
    }
    row[GENFUSE_COLUMN_store] = options.store ? static_cast<double>(options.slot) : -1.0;
    timesteps.push_back(timestep);
    input_scale.push_back(1.0);
}

void Table::check() const {
    static const char* const names[] = {
#define COLUMN_NAME(name) #name,
#define TERM_NAME(output, term) #output "_" #term,
        GENFUSE_COLUMNS(COLUMN_NAME, TERM_NAME)
#undef COLUMN_NAME
#undef TERM_NAME
    };
    unsigned written = 0;
    for (int64_t i = 0; i < size(); ++i) {
        const double* const values = row(i);
        for (int column = 0; column < GENFUSE_COLUMN_COUNT; ++column) {
            const bool range = column == GENFUSE_COLUMN_clip_min || column == GENFUSE_COLUMN_clip_max;
            if (range ? !isnan(values[column]) : isfinite(values[column])) continue;
            refuse("table row %lld, column '%s' is %g, expected a finite number%s", static_cast<long long>(i),
                   names[column], values[column],
                   isfinite(values[GENFUSE_COLUMN_x0_x])
                       ? ""
                       : "; epsilon prediction has no x0 at zero terminal SNR: use v_prediction or sample");
        }
        if (isnan(timesteps[static_cast<size_t>(i)])) {
            refuse("table row %lld is at time nan, expected levels of noise with one time each",
                   static_cast<long long>(i));
        }
        for (int slot = 0; slot < GENFUSE_HISTORY_SLOTS; ++slot) {
            const bool read =
                values[GENFUSE_COLUMN_y_h0 + slot] != 0 || values[GENFUSE_COLUMN_s_h0 + slot] != 0;
            if (read && !(written >> slot & 1)) {
                refuse("table row %lld reads history slot %d before any row has stored it",
                       static_cast<long long>(i), slot);
            }
        }
        const int stored = static_cast<int>(values[GENFUSE_COLUMN_store]);
        if (stored >= 0) written |= 1u << stored;
    }
}

int Table::history_slots() const {
    int slots = 0;
    for (int slot = 0; slot < GENFUSE_HISTORY_SLOTS; ++slot) {
        if (any(GENFUSE_COLUMN_y_h0 + slot) || any(GENFUSE_COLUMN_s_h0 + slot)) slots = slot + 1;
    }
    for (int64_t i = 0; slots > 0 && i < size(); ++i) {
        const int stored = static_cast<int>(row(i)[GENFUSE_COLUMN_store]);
        if (stored + 1 > slots) slots = stored + 1;
    }
    return slots;
}

bool Table::stochastic() const {
    return any(GENFUSE_COLUMN_y_noise) || any(GENFUSE_COLUMN_y_noise_prev) || any(GENFUSE_COLUMN_s_noise) ||
           any(GENFUSE_COLUMN_s_noise_prev);
}

void Table::set(int column, double value) {
    for (int64_t i = 0; i < size(); ++i) rows[static_cast<size_t>(i * GENFUSE_ROW + column)] = value;
}

bool Table::any(int column) const {
    for (int64_t i = 0; i < size(); ++i) {
        if (row(i)[column] != 0) return true;
    }
    return false;
}

}  // namespace samplers
}  // namespace genfuse
