// Mean and variance over space, and what a normalisation makes of them.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {

// Channels of x and of skip behind them, together (N, C, H, W).
struct StatisticsJob {
    const genfuse_image* x;
    const genfuse_image* skip;  // `data` NULL: absent
    int32_t dtype;
    int64_t batch, channels, height, width;
    float* stats;  // (N, C, 2): mean and variance over space; of statistics_unit
    int64_t blocks_a_unit;

    // Of pixel_statistics_unit: (N, H, W), so that x·pixel_scale + pixel_offset is normalised over C.
    float* pixel_scale;
    float* pixel_offset;
    double eps;
    int32_t centred;

    float* memory;  // each slot's own: 16·width floats
    int64_t memory_a_slot;
};

#define GENFUSE_STATISTICS_UNITS(UNIT)                  \
    UNIT(statistics_unit)       /* n, channel blocks */ \
    UNIT(pixel_statistics_unit) /* n, row */

#define GENFUSE_DECLARE_UNIT(name) void name(const StatisticsJob& job, int64_t unit, int slot);
namespace baseline {
GENFUSE_STATISTICS_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx2 {
GENFUSE_STATISTICS_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx512 {
GENFUSE_STATISTICS_UNITS(GENFUSE_DECLARE_UNIT)
}
#undef GENFUSE_DECLARE_UNIT

constexpr int64_t kMostStatisticsBlocks = 4;

// Blocks of 16 channels, which begin anew with skip's.
inline int64_t statistics_blocks(const StatisticsJob& job) {
    return blocks_of(job.x->channels) + (job.skip->data ? blocks_of(job.skip->channels) : 0);
}

// Of what a unit reads, as its prologue normalises it.
inline StatisticsJob statistics_of(const ConvJob& job) {
    const genfuse_conv_norm_act_args& args = *job.args;
    StatisticsJob statistics{};
    statistics.x = &args.x;
    statistics.skip = &args.skip;
    statistics.dtype = args.dtype;
    statistics.batch = args.batch;
    statistics.channels = job.in_channels;
    statistics.height = args.height;
    statistics.width = args.width;
    statistics.eps = args.prologue.eps;
    statistics.centred = args.prologue.centred;
    statistics.memory = job.memory;
    statistics.memory_a_slot = job.memory_a_slot;
    return statistics;
}

// Units of a launch on some threads. A unit takes neighbouring blocks: each pixel's lines are read together.
inline int64_t deal_statistics(StatisticsJob& job, int64_t threads) {
    constexpr int64_t most = kMostStatisticsBlocks;
    const int64_t blocks = statistics_blocks(job), share = job.batch * blocks / threads;
    job.blocks_a_unit = share < 1 ? 1 : share < most ? share : most;
    return job.batch * ((blocks + job.blocks_a_unit - 1) / job.blocks_a_unit);
}

// scale and offset (N, C) such that x·scale + offset is the prologue's normalisation; stats (N, C, 2) where
// the kind reads them.
void fold_normalisation(const genfuse_prologue& prologue, const float* stats, int64_t batch, int64_t channels,
                        float* scale, float* offset);

// stats (N, K, 2) from a unit's partial results; counts (partial_rows,) pixels of each.
void merge_partials(const ConvJob& job, const std::vector<int64_t>& counts, float* stats);

}  // namespace genfuse
