// A table's row, folded for one sample: which inputs are read, and with what coefficients.
#pragma once

#include "sampler_step/params.h"

namespace genfuse {

enum Input {
    kX,
    kModelOutput,
    kUncond,
    kHistory0,
    kNoise = kHistory0 + GENFUSE_HISTORY_SLOTS,
    kNoisePrev,
    kInputs
};

// Σ coefficient·input. An input whose coefficients cancelled is kept, with 0: its NaN still shows.
struct Sum {
    int count = 0;
    uint8_t input[kInputs];
    double coefficient[kInputs];

    void add(int which, double value);
};

struct Program {
    Sum y, s;  // the two outputs, x0 folded in unless it is bounded
    Sum x0;    // empty unless `bounded`
    bool bounded = false;
    double low = 0, high = 0;   // x0 is clamped to [low, high]
    double y_x0 = 0, s_x0 = 0;  // what is taken of the clamped x0
    bool scaled = false;        // noise is multiplied by exp(log_std + log_std_v·variance)
    double log_std = 0, log_std_v = 0;
    int slot = -1;      // history slot that s goes to
    uint32_t live = 0;  // bit i: Input i is read
};

// Folds one row. `s` stays empty where nobody wants it; scales are read only where the row asks for them.
Program fold_row(const double* row, bool has_uncond, bool wants_s, double rescale, double threshold);

// The guided model output before its rescale, and x0 before its bounds: what sampler_reduce measures.
Sum fold_m(const double* row, bool has_uncond);
Sum fold_x0(const double* row, bool has_uncond, double rescale);

// Whether folding the row reads the sample's scales.
bool reads_scales(const double* row, bool has_uncond);

}  // namespace genfuse
