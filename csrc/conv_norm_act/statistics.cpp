// Statistics of an image, for the first norm of a network: later ones get theirs from the convolution that
// wrote the image. Compiled once for each instruction set.
#include "conv_norm_act/statistics.h"

#include "common/runs.h"
#include "conv_norm_act/finish.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Channels [c, c + lanes) of row y, 16 a pixel.
template <class Stored>
void load_row(const StatisticsJob& job, int64_t n, int64_t c, int lanes, int64_t y, float* to) {
    const genfuse_image& image = c < job.x->channels ? *job.x : *job.skip;
    load_run<Stored>(image, n, c < job.x->channels ? c : c - job.x->channels, lanes, y, 0, job.width, to);
}

// Calls run(c, lanes) for blocks of channels that come from one image.
template <class Run>
void each_block(const StatisticsJob& job, Run run) {
    for (int64_t c = 0; c < job.channels;) {
        const int64_t end = c < job.x->channels ? job.x->channels : job.channels;
        const int lanes = static_cast<int>(end - c < kBlock ? end - c : kBlock);
        run(c, lanes);
        c += lanes;
    }
}

// Blocks [first, last) of sample n, a row of all of them before the next.
template <class Stored>
void block_statistics(const StatisticsJob& job, int64_t n, int64_t first, int64_t last, float* row) {
    struct Block {
        int64_t c;
        int lanes;
        RowMoments moments;
    } block[kMostStatisticsBlocks];
    int64_t number = 0;
    each_block(job, [&](int64_t c, int lanes) {
        if (number >= first && number < last) {
            block[number - first].c = c;
            block[number - first].lanes = lanes;
        }
        ++number;
    });
    for (int64_t y = 0; y < job.height; ++y) {
        for (int64_t i = 0; i < last - first; ++i) {
            load_row<Stored>(job, n, block[i].c, block[i].lanes, y, row);
            block[i].moments.add(row, job.width);
        }
    }
    for (int64_t i = 0; i < last - first; ++i) {
        double mean[kBlockLanes], squares[kBlockLanes];
        block[i].moments.write(mean, squares);
        float* const to = job.stats + (n * job.channels + block[i].c) * 2;
        for (int lane = 0; lane < block[i].lanes; ++lane) {
            to[2 * lane] = static_cast<float>(mean[lane]);
            to[2 * lane + 1] =
                static_cast<float>(squares[lane] / static_cast<double>(job.height * job.width));
        }
    }
}

template <class Stored>
void row_statistics(const StatisticsJob& job, int64_t n, int64_t y, float* row) {
    float* const scale = job.pixel_scale + (n * job.height + y) * job.width;
    float* const offset = job.pixel_offset + (n * job.height + y) * job.width;
    for (int64_t x = 0; x < job.width; ++x) scale[x] = offset[x] = 0;
    // Sums of v − offset, or of its square: `offset` is the first channel at first, that a large mean cancels
    // nothing.
    const auto sum_into = [&](float* sums, bool squared) {
        each_block(job, [&](int64_t c, int lanes) {
            load_row<Stored>(job, n, c, lanes, y, row);
            for (int64_t x = 0; x < job.width; ++x) {
                float sum = 0;
                for (int lane = 0; lane < lanes; ++lane) {
                    const float value = row[x * kBlockLanes + lane] - offset[x];
                    sum += squared ? value * value : value;
                }
                sums[x] += sum;
            }
        });
    };
    const float share = 1.0f / static_cast<float>(job.channels);
    if (job.centred) {
        load_row<Stored>(job, n, 0, 1, y, row);
        for (int64_t x = 0; x < job.width; ++x) offset[x] = row[x * kBlockLanes];
        sum_into(scale, false);
        for (int64_t x = 0; x < job.width; ++x) {
            offset[x] += scale[x] * share;
            scale[x] = 0;
        }
    }
    sum_into(scale, true);
    for (int64_t x = 0; x < job.width; ++x) {
        scale[x] = 1.0f / __builtin_sqrtf(scale[x] * share + static_cast<float>(job.eps));
        offset[x] = -offset[x] * scale[x];
    }
}

}  // namespace

void statistics_unit(const StatisticsJob& job, int64_t unit, int slot) {
    float* const row = job.memory + slot * job.memory_a_slot;
    const int64_t blocks = statistics_blocks(job);
    const int64_t parts = (blocks + job.blocks_a_unit - 1) / job.blocks_a_unit;
    const int64_t n = unit / parts, first = unit % parts * job.blocks_a_unit;
    const int64_t last = first + job.blocks_a_unit < blocks ? first + job.blocks_a_unit : blocks;
    with_stored(job.dtype,
                [&](auto stored) { block_statistics<decltype(stored)>(job, n, first, last, row); });
}

void pixel_statistics_unit(const StatisticsJob& job, int64_t unit, int slot) {
    float* const row = job.memory + slot * job.memory_a_slot;
    const int64_t n = unit / job.height, y = unit % job.height;
    with_stored(job.dtype, [&](auto stored) { row_statistics<decltype(stored)>(job, n, y, row); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
