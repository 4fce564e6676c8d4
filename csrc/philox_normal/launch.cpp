// philox_normal's C interface: checks a call, lays it out and hands it to the kernels.
#include "common/message.h"
#include "philox_normal/job.h"

namespace genfuse {
namespace {

using Args = genfuse_philox_normal_args;

constexpr int64_t kTileElements = 2048;
constexpr int64_t kCostOfNormal = 4;  // in elements of a plain combination

genfuse_status check_row(int64_t row, genfuse_message* message) {
    if (row >= 0 && row <= UINT32_MAX) return GENFUSE_OK;
    return invalid(message, "row is %lld, expected an int in [0, 2**32)", static_cast<long long>(row));
}

genfuse_status run(const Args& args, genfuse_message* message) {
    genfuse_status status = check_shape(args.shape, message);
    if (status != GENFUSE_OK) return status;
    const int64_t samples = args.shape.size[0];
    status = args.rows ? GENFUSE_OK : check_row(args.row, message);
    for (int64_t n = 0; args.rows && n < samples && status == GENFUSE_OK; ++n) {
        status = check_row(args.rows[n], message);
    }
    NormalJob job;
    job.numel = sample_numel(args.shape);
    if (status != GENFUSE_OK || samples == 0 || job.numel == 0) return status;
    if (!args.out.data || !args.seeds) return invalid(message, "out or seeds is absent, expected both");
    job.layout = sample_layout(args.shape, args.out.stride);
    job.tile = kTileElements;
    job.channels = channels_last(job.layout);
    const int64_t pixels = interleaved_pixels(job.channels, kTileElements);
    if (pixels > 0) {
        job.tile = pixels * job.channels;
    } else {
        job.channels = 0;
    }
    job.tiles = (job.numel + job.tile - 1) / job.tile;
    job.args = &args;
    run_units(GENFUSE_KERNEL(philox_normal_units), job, samples * job.tiles,
              samples * job.numel * kCostOfNormal, args.threads);
    return GENFUSE_OK;
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_philox_normal(const genfuse_philox_normal_args* args, genfuse_message* message) {
    return genfuse::run(*args, message);
}

void genfuse_philox_words(uint32_t* words, int64_t blocks, int64_t first_block, int64_t seed, uint32_t row,
                          uint32_t stream) {
    const genfuse::WordsJob job{words, blocks, first_block, seed, row, stream};
    using namespace genfuse;
    GENFUSE_KERNEL(philox_words_units)(job, 0, 1);
}
