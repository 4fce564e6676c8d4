// attention from its arguments to its kernel: checks, blocking, threads.
#include <algorithm>
#include <new>

#include "attention/job.h"
#include "common/dispatch.h"
#include "common/divide.h"
#include "common/message.h"

namespace genfuse {
namespace {

using Args = genfuse_attention_args;

constexpr int64_t kRows = 6;                // the kernels multiply this many queries at once
constexpr int64_t kLanes = 16;              // queries in the lanes of the longest vector
constexpr int64_t kPackedFloats = 4 << 20;  // of keys and values, unless a single head has more

genfuse_status check(const Args& args, genfuse_message* message) {
    if (args.dtype != GENFUSE_FLOAT32 && args.dtype != GENFUSE_BFLOAT16 && args.dtype != GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, bfloat16 or float16", args.dtype);
    }
    const struct {
        const char* name;
        int64_t size, least;
    } sizes[] = {{"batch", args.batch, 0},       {"heads", args.heads, 1},
                 {"queries", args.queries, 0},   {"keys", args.keys, 1},
                 {"channels", args.channels, 1}, {"value_channels", args.value_channels, 1}};
    for (const auto& each : sizes) {
        if (each.size < each.least) {
            return invalid(message, "%s is %lld, expected at least %lld", each.name,
                           static_cast<long long>(each.size), static_cast<long long>(each.least));
        }
    }
    if (args.out.stride_channel != 1)
        return invalid(message, "out has channels apart, expected them adjacent");
    return GENFUSE_OK;
}

void run(const Args& args) {
    AttentionJob job{};
    job.args = &args;
    job.depth = ceil_divide(args.channels, 16) * 16;
    job.wide = ceil_divide(args.value_channels, 16) * 16;
    job.key_blocks = ceil_divide(args.keys, kKeysAtOnce);
    const int64_t even = ceil_divide(args.queries, ceil_divide(args.queries, kQueriesAUnit));
    const bool few = args.channels <= kFewChannels && args.value_channels <= kFewChannels;
    const int64_t at_a_time = few ? kLanes : kRows;
    job.queries_a_unit = ceil_divide(even, at_a_time) * at_a_time;
    job.units_a_head = ceil_divide(args.queries, job.queries_a_unit);
    const int threads = std::max(args.threads, 1);
    const int64_t heads = args.batch * args.heads, a_head = job.key_blocks * job.packed_block();
    const int64_t at_once = std::min(heads, std::max<int64_t>(1, kPackedFloats / a_head));

    const auto carve = [&](void* memory) {
        Carver carver(memory);
        job.packed = carver.take<float>(at_once * a_head);
        job.memory_a_slot = static_cast<int64_t>(AttentionFrame(job, nullptr).used / sizeof(float));
        job.memory = carver.take<float>(job.memory_a_slot * threads);
        return carver.used();
    };
    carve(thread_arena(carve(nullptr)));
    for (job.first_head = 0; job.first_head < heads; job.first_head += at_once) {
        const int64_t now = std::min(at_once, heads - job.first_head);
        run_slots(few ? GENFUSE_KERNEL(few_channels_pack_unit) : GENFUSE_KERNEL(attention_pack_unit), job,
                  now * job.key_blocks, threads);
        run_slots(few ? GENFUSE_KERNEL(few_channels_unit) : GENFUSE_KERNEL(attention_unit), job,
                  now * job.units_a_head, threads);
    }
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_attention(const genfuse_attention_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_status status = check(*args, message);
    if (status != GENFUSE_OK || args->batch == 0 || args->queries == 0) return status;
    try {
        run(*args);
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in attention");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
