// sampler_step's C interface: checks a call, lays it out and hands it to the kernels.
#include <math.h>
#include <string.h>

#include "common/message.h"
#include "sampler_step/job.h"

namespace genfuse {
namespace {

using Args = genfuse_sampler_step_args;

constexpr int64_t kBufferedTile = 1024;  // three to five tiles of float32 stay in the first-level cache
constexpr int64_t kDirectTile = 8192;    // nothing is buffered: only the loop's own overhead counts
constexpr int64_t kInterleavedTile = 2048;

// An empty tensor has no memory: whether it is absent cannot be told, and does not matter.
bool is_empty(const Args& args) {
    return args.shape.size[0] == 0 || sample_numel(args.shape) == 0;
}

const double* row_of(const Args& args, int64_t row) {
    return args.table + row * GENFUSE_ROW;
}

bool wants_s(const Args& args, const double* row) {
    return args.stored.data || (args.history_slots > 0 && row[GENFUSE_COLUMN_store] >= 0);
}

genfuse_status check_finite(const Args& args, int64_t row, genfuse_message* message) {
    static const char* const names[] = {
#define COLUMN_NAME(name) #name,
#define TERM_NAME(output, term) #output "_" #term,
        GENFUSE_COLUMNS(COLUMN_NAME, TERM_NAME)
#undef COLUMN_NAME
#undef TERM_NAME
    };
    for (int column = 0; column < GENFUSE_COLUMN_COUNT; ++column) {
        const double value = row_of(args, row)[column];
        const bool range = column == GENFUSE_COLUMN_clip_min || column == GENFUSE_COLUMN_clip_max ||
                           column == GENFUSE_COLUMN_threshold_max;
        if (isnan(value) || (isinf(value) && !range)) {
            return invalid(message, "table[%lld] has %s = %g, expected a %s number",
                           static_cast<long long>(row), names[column], value, range ? "non-NaN" : "finite");
        }
    }
    return GENFUSE_OK;
}

genfuse_status missing(genfuse_message* message, const char* argument, int64_t row) {
    return invalid(message, "%s is None, but row %lld of the table has a coefficient for it; pass %s",
                   argument, static_cast<long long>(row), argument);
}

genfuse_status check_inputs(const Args& args, int64_t row, const Program& program, genfuse_message* message) {
    const bool live_h = (program.live >> kHistory0 & ((1u << GENFUSE_HISTORY_SLOTS) - 1)) != 0;
    if ((program.live >> kModelOutput & 1) && !args.model_output.data)
        return missing(message, "model_output", row);
    if (live_h && args.history_slots == 0) return missing(message, "history", row);
    for (int k = 0; k < GENFUSE_HISTORY_SLOTS; ++k) {
        if ((program.live >> (kHistory0 + k) & 1) && k >= args.history_slots) {
            return invalid(message, "history has %d slots, but row %lld of the table reads slot %d",
                           args.history_slots, static_cast<long long>(row), k);
        }
    }
    const bool draws = (program.live >> kNoise & 1) && !args.noise.data;
    const bool draws_prev = (program.live >> kNoisePrev & 1) && !args.noise_prev.data;
    if ((draws || draws_prev) && !args.seeds) return missing(message, "seeds", row);
    if (draws_prev && row == 0) {
        return invalid(message,
                       "noise_prev is None, but row 0 of the table has a coefficient for it and there is "
                       "no row before to draw it from; pass noise_prev");
    }
    if (program.scaled && !args.variance.data) return missing(message, "variance", row);
    return GENFUSE_OK;
}

// Everything about one row of the table; adds the inputs it reads to `live`.
genfuse_status check_row(const Args& args, int64_t row, uint32_t* live, bool* scaled,
                         genfuse_message* message) {
    if (row < 0 || row >= args.rows) {
        return invalid(message, "index is %lld, expected a row of the table in [0, %lld)",
                       static_cast<long long>(row), static_cast<long long>(args.rows));
    }
    if (row > UINT32_MAX)
        return invalid(message, "index is %lld, expected below 2**32", static_cast<long long>(row));
    genfuse_status status = check_finite(args, row, message);
    if (status != GENFUSE_OK) return status;
    const double* const columns = row_of(args, row);
    const double store = columns[GENFUSE_COLUMN_store];
    if (!args.stored.data && args.history_slots > 0 && store >= args.history_slots) {
        return invalid(message, "history has %d slots, but row %lld of the table stores to slot %g",
                       args.history_slots, static_cast<long long>(row), store);
    }
    if (is_empty(args)) return GENFUSE_OK;
    if (!args.scales && reads_scales(columns, args.uncond.data)) {
        return invalid(message,
                       "scales is None, but row %lld of the table rescales guidance or thresholds x0; "
                       "pass what sampler_reduce returns",
                       static_cast<long long>(row));
    }
    const Program program = fold_row(columns, args.uncond.data, wants_s(args, columns), 1, 1);
    *live |= program.live;
    *scaled |= program.scaled;
    return check_inputs(args, row, program, message);
}

genfuse_status check_rows(const Args& args, uint32_t* live, bool* scaled, genfuse_message* message) {
    if (!args.index) return check_row(args, args.row, live, scaled, message);
    for (int64_t n = 0; n < args.shape.size[0]; ++n) {
        if (n > 0 && args.index[n] == args.index[n - 1]) continue;
        const genfuse_status status = check_row(args, args.index[n], live, scaled, message);
        if (status != GENFUSE_OK) return status;
    }
    return GENFUSE_OK;
}

Operand operand(const Args& args, const genfuse_tensor& tensor) {
    Operand result;
    if (!tensor.data) return result;
    result.data = static_cast<char*>(tensor.data);
    result.sample_stride = tensor.stride[0];
    result.layout = sample_layout(args.shape, tensor.stride);
    result.direct = result.layout.dense();
    return result;
}

// The operands that the call touches, in `list`; returns how many.
int touched(StepJob* job, uint32_t live, bool scaled, Operand** list) {
    int count = 0;
    for (int i = 0; i < kInputs; ++i) {
        if ((live >> i & 1) && job->input[i].data) list[count++] = &job->input[i];
    }
    if (scaled) list[count++] = &job->variance;
    list[count++] = &job->out;
    if (job->stored.data) {
        list[count++] = &job->stored;
    } else if (job->keeps_history) {
        for (Operand& slot : job->history) {
            if (slot.data) list[count++] = &slot;
        }
    }
    return count;
}

bool all_direct(Operand** list, int count) {
    for (int i = 0; i < count; ++i) {
        if (!list[i]->direct) return false;
    }
    return true;
}

// Chooses the order of elements and the length of a tile.
void plan_tiles(StepJob* job, bool draws, Operand** list, int count) {
    const Layout& first = list[0]->layout;
    bool same = true;
    for (int i = 0; i < count; ++i) same = same && list[i]->layout == first;
    if (!all_direct(list, count) && same && permuted_dense(first, job->numel)) {
        const int64_t channels = channels_last(first);
        const int64_t pixels = interleaved_pixels(channels, kInterleavedTile);
        if (!draws || pixels > 0) {
            for (int i = 0; i < count; ++i) list[i]->direct = true;
            job->channels = draws ? channels : 0;
            if (draws) job->tile = pixels * channels;
        }
    }
    if (job->channels == 0) {
        const bool buffered = draws || !all_direct(list, count) || job->dtype >= GENFUSE_BFLOAT16;
        job->tile = buffered ? kBufferedTile : kDirectTile;
    }
}

// Where nothing tells one sample from the next, the batch is one long sample.
void merge_batch(StepJob* job, int64_t* samples, Operand** list, int count) {
    for (int i = 0; i < count; ++i) {
        if (!list[i]->direct || list[i]->sample_stride != job->numel) return;
    }
    job->numel *= *samples;
    *samples = 1;
}

genfuse_status run(const Args& args, genfuse_message* message) {
    genfuse_status status = check_shape(args.shape, message);
    if (status != GENFUSE_OK) return status;
    const bool empty = is_empty(args);
    if (!args.table || (!empty && (!args.x.data || !args.out.data))) {
        return invalid(message, "x, out or table is absent, expected all three");
    }
    uint32_t live = 0;
    bool scaled = false;
    status = check_rows(args, &live, &scaled, message);
    int64_t samples = args.shape.size[0];
    StepJob job;
    job.dtype = args.shape.dtype;
    job.numel = sample_numel(args.shape);
    if (status != GENFUSE_OK || empty) return status;

    const genfuse_tensor* const tensors[] = {&args.x,          &args.model_output, &args.uncond,
                                             &args.history[0], &args.history[1],   &args.history[2],
                                             &args.history[3], &args.noise,        &args.noise_prev};
    for (int i = 0; i < kInputs; ++i) {
        if (live >> i & 1) job.input[i] = operand(args, *tensors[i]);
    }
    if (scaled) job.variance = operand(args, args.variance);
    job.out = operand(args, args.out);
    job.stored = operand(args, args.stored);
    job.keeps_history = args.history_slots > 0;
    for (int k = 0; k < args.history_slots; ++k) job.history[k] = operand(args, args.history[k]);
    job.channels = 0;
    job.args = &args;

    Program shared;
    const bool one = !args.index && !reads_scales(row_of(args, args.row), args.uncond.data);
    job.shared = nullptr;
    if (one) {
        shared = *job.program(0, &shared);
        job.shared = &shared;
        if (!args.stored.data && shared.slot < 0) job.keeps_history = false;
    }
    const bool draws =
        ((live >> kNoise & 1) && !args.noise.data) || ((live >> kNoisePrev & 1) && !args.noise_prev.data);
    Operand* list[kInputs + 3 + GENFUSE_HISTORY_SLOTS];
    const int count = touched(&job, live, scaled, list);
    plan_tiles(&job, draws, list, count);
    if (one && !draws) merge_batch(&job, &samples, list, count);
    job.tiles = (job.numel + job.tile - 1) / job.tile;
    const int64_t elements = samples * job.numel;
    run_units(GENFUSE_KERNEL(sampler_step_units), job, samples * job.tiles, elements * (draws ? 4 : 1),
              args.threads);
    return GENFUSE_OK;
}

}  // namespace

const Program* StepJob::program(int64_t n, Program* own) const {
    if (shared) return shared;
    double rescale = 1, threshold = 1;
    if (args->scales) {
        const bool is_double = dtype == GENFUSE_FLOAT64;
        const double* const wide = static_cast<const double*>(args->scales) + 2 * n;
        const float* const narrow = static_cast<const float*>(args->scales) + 2 * n;
        rescale = is_double ? wide[0] : static_cast<double>(narrow[0]);
        threshold = is_double ? wide[1] : static_cast<double>(narrow[1]);
    }
    const double* const columns = row_of(*args, row(n));
    *own = fold_row(columns, args->uncond.data, wants_s(*args, columns), rescale, threshold);
    return own;
}

}  // namespace genfuse

genfuse_status genfuse_sampler_step(const genfuse_sampler_step_args* args, genfuse_message* message) {
    return genfuse::run(*args, message);
}
