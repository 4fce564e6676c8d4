// sampler_reduce's C interface: checks a call and runs its passes.
#include <math.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "common/message.h"
#include "sampler_reduce/job.h"
#include "sampler_reduce/quantile.h"

namespace genfuse {
namespace {

using Args = genfuse_sampler_reduce_args;

// Elements of |x0| held at once, where one sample is not larger: memory does not grow with the batch.
constexpr int64_t kHeldElements = int64_t{1} << 20;

const double* row_of(const Args& args, int64_t n) {
    return args.table + (args.index ? args.index[n] : args.row) * GENFUSE_ROW;
}

bool rescales(const Args& args, const double* row) {
    return args.uncond.data && row[GENFUSE_COLUMN_rescale] != 0;
}

genfuse_status check_row(const Args& args, int64_t row, genfuse_message* message) {
    if (row < 0 || row >= args.rows) {
        return invalid(message, "index is %lld, expected a row of the table in [0, %lld)",
                       static_cast<long long>(row), static_cast<long long>(args.rows));
    }
    const double* const columns = args.table + row * GENFUSE_ROW;
    for (const int column : {GENFUSE_COLUMN_x0_x, GENFUSE_COLUMN_x0_m, GENFUSE_COLUMN_guidance,
                             GENFUSE_COLUMN_rescale, GENFUSE_COLUMN_quantile}) {
        if (!isfinite(columns[column])) {
            return invalid(message, "table[%lld] has column %d = %g, expected a finite number",
                           static_cast<long long>(row), column, columns[column]);
        }
    }
    const double quantile = columns[GENFUSE_COLUMN_quantile];
    if (quantile < 0 || quantile > 1) {
        return invalid(message, "table[%lld] has quantile = %g, expected it in [0, 1]",
                       static_cast<long long>(row), quantile);
    }
    const bool reads = rescales(args, columns) || quantile != 0;
    const bool empty = args.shape.size[0] == 0 || sample_numel(args.shape) == 0;
    if (reads && !args.model_output.data && !empty) {
        return invalid(message,
                       "model_output is None, but row %lld of the table reduces it; pass model_output",
                       static_cast<long long>(row));
    }
    return GENFUSE_OK;
}

// Chan's merge of two neighbouring runs.
void merge(Moments* left, int64_t left_count, const Moments& right, int64_t right_count) {
    const double count = static_cast<double>(left_count + right_count);
    const double delta = right.mean - left->mean;
    const double share = static_cast<double>(right_count) / count;
    left->mean += delta * share;
    left->squares += right.squares + delta * delta * static_cast<double>(left_count) * share;
}

double standard_deviation(const BlockMoments* blocks, Moments BlockMoments::* which, int64_t numel) {
    Moments total = blocks[0].*which;
    int64_t counted = std::min(numel, kReduceBlock);
    for (int64_t block = 1; counted < numel; ++block) {
        const int64_t count = std::min(numel - counted, kReduceBlock);
        merge(&total, counted, blocks[block].*which, count);
        counted += count;
    }
    return sqrt(total.squares / static_cast<double>(numel - 1));
}

class Reduction {
  public:
    explicit Reduction(const Args& args) : args_(args), samples_(args.shape.size[0]) {
        job_.numel = sample_numel(args.shape);
        job_.blocks = (job_.numel + kReduceBlock - 1) / kReduceBlock;
        job_.layout[0] = sample_layout(args.shape, args.x.stride);
        job_.layout[1] = sample_layout(args.shape, args.model_output.stride);
        job_.layout[2] = sample_layout(args.shape, args.uncond.stride);
        job_.args = &args;
        factor_.assign(static_cast<size_t>(samples_), 1.0);
        sums_.resize(static_cast<size_t>(samples_));
        job_.sums = sums_.data();
    }

    void run() {
        bool any_rescale = false, any_quantile = false;
        for (int64_t n = 0; n < samples_; ++n) {
            any_rescale |= rescales(args_, row_of(args_, n));
            any_quantile |= row_of(args_, n)[GENFUSE_COLUMN_quantile] != 0;
        }
        if (any_rescale && job_.numel >= 2) rescale();
        for (int64_t n = 0; n < samples_; ++n) write(2 * n, factor_[static_cast<size_t>(n)]);
        for (int64_t n = 0; n < samples_; ++n) write(2 * n + 1, INFINITY);
        if (!any_quantile || job_.numel == 0) return;
        if (args_.shape.dtype == GENFUSE_FLOAT64) {
            thresholds<double, uint64_t>();
        } else {
            thresholds<float, uint32_t>();
        }
    }

  private:
    const Args& args_;
    const int64_t samples_;
    ReduceJob job_{};
    std::vector<double> factor_;
    std::vector<Sum> sums_;

    void write(int64_t place, double value) const {
        if (args_.shape.dtype == GENFUSE_FLOAT64) {
            static_cast<double*>(args_.scales)[place] = value;
        } else {
            static_cast<float*>(args_.scales)[place] = static_cast<float>(value);
        }
    }

    void rescale() {
        std::vector<BlockMoments> moments(static_cast<size_t>(samples_ * job_.blocks));
        job_.moments = moments.data();
        for (int64_t n = 0; n < samples_; ++n) {
            const double* const row = row_of(args_, n);
            sums_[static_cast<size_t>(n)] = rescales(args_, row) ? fold_m(row, true) : Sum();
        }
        run_units(GENFUSE_KERNEL(sampler_moments_units), job_, samples_ * job_.blocks,
                  4 * samples_ * job_.numel, args_.threads);
        for (int64_t n = 0; n < samples_; ++n) {
            const double* const row = row_of(args_, n);
            if (!rescales(args_, row)) continue;
            const double phi = row[GENFUSE_COLUMN_rescale];
            const BlockMoments* const blocks = job_.moments + n * job_.blocks;
            const double guided = standard_deviation(blocks, &BlockMoments::guided, job_.numel);
            const double conditional = standard_deviation(blocks, &BlockMoments::conditional, job_.numel);
            if (guided != 0) factor_[static_cast<size_t>(n)] = phi * conditional / guided + (1 - phi);
        }
    }

    // |x0| of a group of samples, then the quantile of each.
    template <class Value, class Bits>
    void thresholds() {
        for (int64_t n = 0; n < samples_; ++n) {
            const size_t at = static_cast<size_t>(n);
            sums_[at] = fold_x0(row_of(args_, n), args_.uncond.data, factor_[at]);
        }
        const int64_t group = std::min(samples_, std::max<int64_t>(1, kHeldElements / job_.numel));
        const std::unique_ptr<Bits[]> bits(new Bits[static_cast<size_t>(group * job_.numel)]);
        job_.magnitudes = bits.get();
        for (job_.first_sample = 0; job_.first_sample < samples_; job_.first_sample += group) {
            const int64_t samples = std::min(group, samples_ - job_.first_sample);
            const int64_t elements = samples * job_.numel;
            run_units(GENFUSE_KERNEL(sampler_magnitudes_units), job_, samples * job_.blocks, 2 * elements,
                      args_.threads);
            run_units<Reduction>(
                [](const Reduction& self, int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) self.threshold<Value, Bits>(i);
                },
                *this, samples, 8 * elements, args_.threads);
        }
    }

    template <class Value, class Bits>
    void threshold(int64_t i) const {
        const int64_t n = job_.first_sample + i;
        const double* const row = row_of(args_, n);
        if (row[GENFUSE_COLUMN_quantile] == 0) return;
        Bits* const bits = static_cast<Bits*>(job_.magnitudes) + i * job_.numel;
        double value = quantile_of(Value{}, bits, job_.numel, row[GENFUSE_COLUMN_quantile]);
        if (value < 1) value = 1;
        if (value > row[GENFUSE_COLUMN_threshold_max]) value = row[GENFUSE_COLUMN_threshold_max];
        write(2 * n + 1, value);
    }
};

genfuse_status run(const Args& args, genfuse_message* message) {
    genfuse_status status = check_shape(args.shape, message);
    if (status != GENFUSE_OK) return status;
    if (!args.table) return invalid(message, "table is absent, expected (rows, %d) float64", GENFUSE_ROW);
    const int64_t samples = args.shape.size[0];
    if (!args.index) status = check_row(args, args.row, message);
    for (int64_t n = 0; args.index && n < samples && status == GENFUSE_OK; ++n) {
        status = check_row(args, args.index[n], message);
    }
    if (status != GENFUSE_OK || samples == 0) return status;
    if (!args.scales) return invalid(message, "scales is absent, expected room for (N, 2)");
    try {
        Reduction(args).run();
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in sampler_reduce");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_sampler_reduce(const genfuse_sampler_reduce_args* args, genfuse_message* message) {
    return genfuse::run(*args, message);
}
