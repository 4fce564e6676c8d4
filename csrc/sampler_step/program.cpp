#include "sampler_step/program.h"

#include <cmath>

namespace genfuse {
namespace {

// The model output as guidance leaves it: shares of model_output and uncond.
struct Guided {
    double model_output = 0, uncond = 0;
    bool reads_model_output = true, reads_uncond = false;
};

Guided guide(const double* row, bool has_uncond, double rescale) {
    Guided m;
    const double guidance = has_uncond ? row[GENFUSE_COLUMN_guidance] : 1.0;
    const double factor = has_uncond && row[GENFUSE_COLUMN_rescale] != 0 ? rescale : 1.0;
    m.reads_model_output = guidance != 0;
    m.reads_uncond = guidance != 1;
    m.model_output = guidance * factor;
    m.uncond = (1 - guidance) * factor;
    return m;
}

void add_m(Sum* sum, const Guided& m, double coefficient) {
    if (m.reads_model_output) sum->add(kModelOutput, coefficient * m.model_output);
    if (m.reads_uncond) sum->add(kUncond, coefficient * m.uncond);
}

void add_x0(Sum* sum, const double* row, const Guided& m, double coefficient) {
    const double of_x = row[GENFUSE_COLUMN_x0_x], of_m = row[GENFUSE_COLUMN_x0_m];
    if (of_x != 0) sum->add(kX, coefficient * of_x);
    if (of_m != 0) add_m(sum, m, coefficient * of_m);
}

// The nine terms of one output; `terms` is its first column. x0 is left out where it is bounded.
Sum fold_output(const double* row, const double* terms, const Guided& m, bool bounded) {
    const int first = GENFUSE_COLUMN_y_x;
    const auto term = [&](int column) { return terms[column - first]; };
    Sum sum;
    if (term(GENFUSE_COLUMN_y_x) != 0) sum.add(kX, term(GENFUSE_COLUMN_y_x));
    if (term(GENFUSE_COLUMN_y_m) != 0) add_m(&sum, m, term(GENFUSE_COLUMN_y_m));
    if (term(GENFUSE_COLUMN_y_x0) != 0 && !bounded) add_x0(&sum, row, m, term(GENFUSE_COLUMN_y_x0));
    for (int k = 0; k < GENFUSE_HISTORY_SLOTS; ++k) {
        if (term(GENFUSE_COLUMN_y_h0 + k) != 0) sum.add(kHistory0 + k, term(GENFUSE_COLUMN_y_h0 + k));
    }
    if (term(GENFUSE_COLUMN_y_noise) != 0) sum.add(kNoise, term(GENFUSE_COLUMN_y_noise));
    if (term(GENFUSE_COLUMN_y_noise_prev) != 0) sum.add(kNoisePrev, term(GENFUSE_COLUMN_y_noise_prev));
    return sum;
}

uint32_t inputs_of(const Sum& sum) {
    uint32_t live = 0;
    for (int k = 0; k < sum.count; ++k) live |= 1u << sum.input[k];
    return live;
}

}  // namespace

void Sum::add(int which, double value) {
    for (int k = 0; k < count; ++k) {
        if (input[k] == which) {
            coefficient[k] += value;
            return;
        }
    }
    input[count] = static_cast<uint8_t>(which);
    coefficient[count] = value;
    ++count;
}

bool reads_scales(const double* row, bool has_uncond) {
    return row[GENFUSE_COLUMN_quantile] != 0 || (has_uncond && row[GENFUSE_COLUMN_rescale] != 0);
}

Sum fold_m(const double* row, bool has_uncond) {
    Sum sum;
    add_m(&sum, guide(row, has_uncond, 1), 1);
    return sum;
}

Sum fold_x0(const double* row, bool has_uncond, double rescale) {
    Sum sum;
    add_x0(&sum, row, guide(row, has_uncond, rescale), 1);
    return sum;
}

Program fold_row(const double* row, bool has_uncond, bool wants_s, double rescale, double threshold) {
    Program program;
    const Guided m = guide(row, has_uncond, rescale);
    program.y_x0 = row[GENFUSE_COLUMN_y_x0];
    program.s_x0 = wants_s ? row[GENFUSE_COLUMN_s_x0] : 0;
    program.low = row[GENFUSE_COLUMN_clip_min];
    program.high = row[GENFUSE_COLUMN_clip_max];
    if (row[GENFUSE_COLUMN_quantile] != 0) {
        program.low = -threshold;
        program.high = threshold;
        program.y_x0 /= threshold;
        program.s_x0 /= threshold;
    }
    const bool used = row[GENFUSE_COLUMN_y_x0] != 0 || (wants_s && row[GENFUSE_COLUMN_s_x0] != 0);
    const bool limits =
        row[GENFUSE_COLUMN_quantile] != 0 || program.low != -INFINITY || program.high != INFINITY;
    program.bounded = used && limits;
    if (program.bounded) add_x0(&program.x0, row, m, 1.0);
    program.y = fold_output(row, row + GENFUSE_COLUMN_y_x, m, program.bounded);
    if (wants_s) program.s = fold_output(row, row + GENFUSE_COLUMN_s_x, m, program.bounded);
    program.live = inputs_of(program.y) | inputs_of(program.s) | inputs_of(program.x0);
    program.log_std = row[GENFUSE_COLUMN_log_std];
    program.log_std_v = row[GENFUSE_COLUMN_log_std_v];
    program.scaled = (program.live >> kNoise & 1) != 0 && program.log_std_v != 0;
    program.slot = static_cast<int>(row[GENFUSE_COLUMN_store]);
    return program;
}

}  // namespace genfuse
