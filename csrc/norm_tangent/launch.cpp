// norm_tangent's C interface: checks a call and shares its sets among the threads.
#include <new>
#include <vector>

#include "common/message.h"
#include "norm_tangent/job.h"

namespace genfuse {
namespace {

genfuse_status check(const genfuse_norm_tangent_args& args, genfuse_message* message) {
    if (args.rows < 0 || args.columns < 1) {
        return invalid(message, "x has %lld sets of %lld values, expected at least 1 value",
                       static_cast<long long>(args.rows), static_cast<long long>(args.columns));
    }
    if (args.weight_rows < 1 || args.weight_columns < 1 || args.rows % args.weight_rows ||
        args.columns % args.weight_columns) {
        return invalid(message, "weight has %lld x %lld values, expected divisors of %lld and %lld",
                       static_cast<long long>(args.weight_rows), static_cast<long long>(args.weight_columns),
                       static_cast<long long>(args.rows), static_cast<long long>(args.columns));
    }
    if (!(args.eps >= 0)) return invalid(message, "eps is %g, expected 0 or more", args.eps);
    if (args.rows > 0 && (!args.x || !args.tangent)) {
        return invalid(message, "x or tangent is absent, expected both%s", "");
    }
    if (args.rows > 0 && !args.gradient &&
        (args.x_gradient || args.tangent_gradient || args.weight_gradient)) {
        return invalid(message, "gradient is absent, expected it where gradients are wanted%s", "");
    }
    return GENFUSE_OK;
}

// Each weight's sum over the sets that have it, in order.
void sum_partial(const genfuse_norm_tangent_args& args, const std::vector<float>& partial) {
    for (int64_t row = 0; row < args.weight_rows; ++row) {
        for (int64_t k = 0; k < args.weight_columns; ++k) {
            double sum = 0;
            for (int64_t set = row; set < args.rows; set += args.weight_rows) {
                sum += static_cast<double>(partial[static_cast<size_t>(set * args.weight_columns + k)]);
            }
            args.weight_gradient[row * args.weight_columns + k] = static_cast<float>(sum);
        }
    }
}

void run(const genfuse_norm_tangent_args& args) {
    const int64_t work = args.rows * args.columns;
    const int threads = args.threads > 1 ? args.threads : 1;
    NormTangentJob job{&args, nullptr, nullptr};
    if (args.weight_columns == args.columns && args.columns > 1) {
        std::vector<NormTangentSet> sets(static_cast<size_t>(args.rows));
        job.sets = sets.data();
        run_units(GENFUSE_KERNEL(norm_tangent_sets), job, args.rows, work, threads);
        const int64_t pieces = (args.columns + kNormTangentColumns - 1) / kNormTangentColumns;
        run_units(GENFUSE_KERNEL(norm_tangent_columns), job, args.weight_rows * pieces, work, threads);
        return;
    }
    std::vector<float> partial(args.weight_gradient ? static_cast<size_t>(args.rows * args.weight_columns)
                                                    : 0);
    job.partial = args.weight_gradient ? partial.data() : nullptr;
    run_units(GENFUSE_KERNEL(norm_tangent_sets), job, args.rows, work, threads);
    if (args.weight_gradient) sum_partial(args, partial);
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_norm_tangent(const genfuse_norm_tangent_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_status status = check(*args, message);
    if (status != GENFUSE_OK) return status;
    try {
        run(*args);
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in norm_tangent%s", "");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
