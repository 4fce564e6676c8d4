// norm_stats from its arguments to the kernel that conv_norm_act computes missing statistics with.
#include <algorithm>
#include <new>

#include "common/arena.h"
#include "common/dispatch.h"
#include "common/message.h"
#include "conv_norm_act/check.h"
#include "conv_norm_act/statistics.h"
#include "norm_stats/params.h"

namespace genfuse {
namespace {

void run(const genfuse_norm_stats_args& args) {
    const genfuse_image absent{};
    const int32_t threads = std::max(1, args.threads);
    StatisticsJob job{};
    job.x = &args.x;
    job.skip = &absent;
    job.dtype = args.dtype;
    job.batch = args.batch;
    job.channels = args.x.channels;
    job.height = args.height;
    job.width = args.width;
    job.stats = args.stats;
    job.memory_a_slot = kBlock * args.width;
    job.memory =
        static_cast<float*>(thread_arena(static_cast<size_t>(job.memory_a_slot) * threads * sizeof(float)));
    const int64_t units = deal_statistics(job, threads);
    run_slots(GENFUSE_KERNEL(statistics_unit), job, units, threads);
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_norm_stats(const genfuse_norm_stats_args* args, genfuse_message* message) {
    using namespace genfuse;
    if (args->dtype != GENFUSE_FLOAT32 && args->dtype != GENFUSE_BFLOAT16 && args->dtype != GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, bfloat16 or float16",
                       static_cast<int>(args->dtype));
    }
    if (args->batch < 0 || args->height < 1 || args->width < 1 || args->x.channels < 1) {
        return invalid(message, "x has %lld samples of %d channels of %lld x %lld pixels, expected some",
                       static_cast<long long>(args->batch), static_cast<int>(args->x.channels),
                       static_cast<long long>(args->height), static_cast<long long>(args->width));
    }
    const genfuse_status status = check_image("x", args->x, args->x.channels, message);
    if (status != GENFUSE_OK || args->batch == 0) return status;
    if (!args->x.data || !args->stats) return invalid(message, "x or stats is absent, expected both%s", "");
    try {
        run(*args);
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in norm_stats");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
