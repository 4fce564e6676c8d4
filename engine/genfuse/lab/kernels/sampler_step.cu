#include "genfuse/sampler_step.h"
// genfuse: threads=128

// A thread an element, every coefficient asked for in each. What is to be gained: the row once a block, runs
// of memory, 128-bit accesses. A row that the table does not have turns its sample NaN.

namespace {

enum Column {  // genfuse_kernels/sampler_step/row.py
    X0_X,
    X0_M,
    CLIP_MIN,
    CLIP_MAX,
    GUIDANCE,
    RESCALE,
    QUANTILE,
    THRESHOLD_MAX,
    LOG_STD,
    LOG_STD_V,
    Y,
    S = Y + 9,
    STORE = S + 9,
    ROW = 32
};

struct Element {
    const genfuse_args& args;
    const double* row;
    int64_t sample, inside, per_sample, row_index;

    double read(const genfuse_tensor& t) const {
        return genfuse::load(t, genfuse::place(t, sample * per_sample + inside));
    }
    double stored(int slot) const {
        const genfuse_tensor& h = args.history;
        const int64_t count = args.x.size[0] * per_sample;
        return genfuse::load(h, genfuse::place(h, slot * count + sample * per_sample + inside));
    }
    double scale(int which) const {
        return genfuse::load(args.scales, genfuse::place(args.scales, 2 * sample + which));
    }
    double noise(const genfuse_tensor& given, int64_t row_of) const {
        if (given.data) return read(given);
        const int64_t seed = static_cast<const int64_t*>(args.seeds.data)[sample * args.seeds.stride[0]];
        return genfuse::normal(static_cast<uint64_t>(seed), static_cast<uint64_t>(inside),
                               static_cast<uint32_t>(row_of), static_cast<uint32_t>(args.stream));
    }
    double output() const {  // the model's, guided
        const double guidance = row[GUIDANCE];
        if (!args.uncond.data) return read(args.model_output);
        double m = guidance == 1 ? read(args.model_output) : read(args.uncond);
        if (guidance != 1 && guidance != 0) m += guidance * (read(args.model_output) - m);
        return row[RESCALE] != 0 ? m * scale(0) : m;
    }
    double x0() const {
        double value = row[X0_X] != 0 ? row[X0_X] * read(args.x) : 0;
        if (row[X0_M] != 0) value += row[X0_M] * output();
        const double bound = row[QUANTILE] != 0 ? scale(1) : 0;
        const double low = bound ? -bound : row[CLIP_MIN], high = bound ? bound : row[CLIP_MAX];
        value = value < low ? low : value > high ? high : value;
        return bound ? value / bound : value;
    }
    double combined(const double* c) const {
        double sum = 0;
        if (c[0] != 0) sum += c[0] * read(args.x);
        if (c[1] != 0) sum += c[1] * output();
        if (c[2] != 0) sum += c[2] * x0();
        for (int k = 0; k < 4; ++k)
            if (c[3 + k] != 0) sum += c[3 + k] * stored(k);
        if (c[7] != 0) {
            double z = noise(args.noise, row_index);
            if (row[LOG_STD_V] != 0) z *= exp(row[LOG_STD] + row[LOG_STD_V] * read(args.variance));
            sum += c[7] * z;
        }
        if (c[8] != 0) sum += c[8] * noise(args.noise_prev, row_index - 1);
        return sum;
    }
};

}  // namespace

GENFUSE_KERNEL(args) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * GENFUSE_THREADS + threadIdx.x,
                  whole = genfuse::numel(args.x);
    if (i >= whole) return;
    const int64_t per_sample = whole / args.x.size[0], n = i / per_sample;
    const int64_t index = args.index_of_sample ? args.index_of_sample[n] : args.index;
    if (index < 0 || index >= args.table.size[0]) {
        genfuse::store(args.out, genfuse::place(args.out, i), NAN);
        return;
    }
    double row[ROW];  // of float32 on a GPU
    for (int k = 0; k < ROW; ++k) row[k] = genfuse::load(args.table, index * args.table.stride[0] + k);
    const Element element{args, row, n, i % per_sample, per_sample, index};
    const bool stores = args.stored.data || row[STORE] >= 0;
    const double y = element.combined(row + Y), s = stores ? element.combined(row + S) : 0;
    genfuse::store(args.out, genfuse::place(args.out, i), y);
    if (args.stored.data) {
        genfuse::store(args.stored, genfuse::place(args.stored, i), s);
    } else if (stores) {
        const int64_t slot = static_cast<int64_t>(row[STORE]) * whole;
        genfuse::store(args.history, genfuse::place(args.history, slot + i), s);
    }
}
