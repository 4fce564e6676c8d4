// philox_lerp's C interface: checks a call, lays it out and hands it to the kernel.
#include "common/message.h"
#include "philox_lerp/job.h"

namespace genfuse {
namespace {

using Args = genfuse_philox_lerp_args;

constexpr int64_t kDirectTile = 8192;
constexpr int64_t kBufferedTile = 1024;  // three tiles of float32 stay in the first-level cache

bool fits(const Layout& layout, const Layout& out, const genfuse_tensor& tensor) {
    return !tensor.data || layout == out;
}

genfuse_status run(const Args& args, genfuse_message* message) {
    const genfuse_status status = check_shape(args.shape, message);
    if (status != GENFUSE_OK) return status;
    const int64_t samples = args.shape.size[0], counted = int64_t{1} << 32;
    if (args.first < 0 || args.first > counted || samples > counted - args.first) {
        return invalid(message, "first is %lld of %lld samples, expected numbers of samples in [0, 2**32)",
                       static_cast<long long>(args.first), static_cast<long long>(samples));
    }
    LerpJob job;
    job.numel = sample_numel(args.shape);
    if (samples == 0 || job.numel == 0) return GENFUSE_OK;
    if (!args.out.data || (!args.start.data && !args.end.data)) {
        return invalid(message, "out, or both start and end, are absent, expected out and one of them%s", "");
    }
    job.out = sample_layout(args.shape, args.out.stride);
    job.start = sample_layout(args.shape, args.start.stride);
    job.end = sample_layout(args.shape, args.end.stride);
    job.direct = fits(job.start, job.out, args.start) && fits(job.end, job.out, args.end) &&
                 permuted_dense(job.out, job.numel);
    job.tile = job.direct ? kDirectTile : kBufferedTile;
    job.tiles = (job.numel + job.tile - 1) / job.tile;
    job.args = &args;
    run_units(GENFUSE_KERNEL(philox_lerp_units), job, samples * job.tiles, samples * job.numel, args.threads);
    return GENFUSE_OK;
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_philox_lerp(const genfuse_philox_lerp_args* args, genfuse_message* message) {
    return genfuse::run(*args, message);
}
