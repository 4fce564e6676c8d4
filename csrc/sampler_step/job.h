// A checked call of sampler_step, as its kernels read it.
#pragma once

#include "common/dispatch.h"
#include "common/layout.h"
#include "sampler_step/program.h"

namespace genfuse {

struct Operand {
    char* data = nullptr;  // nullptr: absent
    int64_t sample_stride = 0;
    Layout layout;
    bool direct = false;  // element e of the job's order lies at offset e
};

// A sample is worked on in tiles of `tile` elements; a unit is one tile of one sample. The job's order is the
// logical one, or, where all operands share one dense permuted layout, the order in memory.
struct StepJob {
    int dtype;
    int64_t numel;  // of a sample
    int64_t tile;
    int64_t tiles;     // of a sample
    int64_t channels;  // above 0: order is channels-last and noise is drawn, so logical indices are needed
    Operand input[kInputs];
    Operand variance, out, stored;  // `stored` absent: s goes to the row's history slot, where it has one
    bool keeps_history;
    Operand history[GENFUSE_HISTORY_SLOTS];  // all slots given, read or not
    const genfuse_sampler_step_args* args;
    const Program* shared;  // the program of all samples, or nullptr: each folds its own

    // What sample n runs; `own` is room for it.
    const Program* program(int64_t n, Program* own) const;
    int64_t row(int64_t n) const { return args->index ? args->index[n] : args->row; }
};

GENFUSE_DECLARE_KERNEL(sampler_step_units, StepJob)

}  // namespace genfuse
