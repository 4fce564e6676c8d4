// The ops' kernels on grids of a few blocks, for ThreadSanitizer: `races ORDER THREAD_ORDER`.
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "cuda.h"
// after it
#include "common/cuda/walk.h"
#include "philox_normal/cuda.cu"
#include "sampler_reduce/cuda.cu"
#include "sampler_step/cuda.cu"

namespace {

using namespace genfuse;

constexpr int kSamples = 2, kChannels = 3, kPositions = 192;
constexpr int kNumel = kSamples * kChannels * kPositions;

// Memory of floats that begins at a multiple of 16 bytes, as one channels-last or contiguous operand.
class Image {
  public:
    explicit Image(Order order)
        : values_(static_cast<float*>(aligned_alloc(64, kNumel * sizeof(float)))), order_(order) {
        for (int i = 0; i < kNumel; ++i) values_[i] = static_cast<float>(i % 11) - 5;
    }
    ~Image() { free(values_); }
    Image(const Image&) = delete;

    Operand operand() const {
        const bool last = order_ == kChannelsLast;
        return {values_, kChannels * kPositions, last ? 1 : kPositions, last ? kChannels : 1};
    }
    double sum() const {
        double total = 0;
        for (int i = 0; i < kNumel; ++i) total += static_cast<double>(values_[i]);
        return total;
    }

  private:
    float* const values_;
    const Order order_;
};

Walk walk_of(Order order, int threads = kThreads) {
    const int64 most = threads * kElements<float, kFlat>;
    const int64 tile = order == kChannelsLast ? most / (4 * kChannels) * (4 * kChannels) : most;
    return {(kChannels * kPositions + tile - 1) / tile, tile, kChannels, kPositions};
}

unsigned blocks_of(const Walk& walk) {
    return static_cast<unsigned>(kSamples * walk.tiles);
}

template <Order order>
void run_step(const void* arguments) {
    sampler_step<float, order, int>(*static_cast<const SamplerStepArguments*>(arguments));
}

template <Order order>
void run_normal(const void* arguments) {
    philox_normal<float, order, int>(*static_cast<const PhiloxNormalArguments*>(arguments));
}

template <Order order>
void run_reduce(const void* arguments) {
    sampler_reduce<float, order, int>(*static_cast<const SamplerReduceArguments*>(arguments));
}

// Rescale and threshold: every reduction, scan and count.
template <Order order>
void check_reduce(emulation::ThreadOrder threads) {
    const Image x(order), output(order), uncond(order);
    float row[GENFUSE_ROW] = {}, scales[2 * kSamples];
    row[GENFUSE_COLUMN_x0_x] = row[GENFUSE_COLUMN_x0_m] = row[GENFUSE_COLUMN_guidance] = 1.5f;
    row[GENFUSE_COLUMN_rescale] = row[GENFUSE_COLUMN_quantile] = 0.7f;
    row[GENFUSE_COLUMN_threshold_max] = 100;
    SamplerReduceArguments reduce{};
    reduce.scales = scales;
    reduce.x = x.operand();
    reduce.model_output = output.operand();
    reduce.uncond = uncond.operand();
    reduce.row.table = row;
    reduce.row.rows = 1;
    reduce.walk = walk_of(order, kReduceThreads);
    emulation::launch(kSamples, kReduceThreads, threads, run_reduce<order>, &reduce);
    for (float scale : scales) printf("%.9g ", static_cast<double>(scale));
}

// In place, with two noise terms, a learned variance and a stored output: every barrier and every load.
template <Order order>
void check(emulation::ThreadOrder threads) {
    const Walk walk = walk_of(order);
    const int64 seeds[kSamples] = {3, -5};
    Image x(order), output(order), uncond(order), variance(order), stored(order);
    float row[GENFUSE_ROW];
    for (float& column : row) column = 0.25f;
    row[GENFUSE_COLUMN_store] = -1;
    SamplerStepArguments step{};
    step.out = step.x = x.operand();
    step.stored = stored.operand();
    step.model_output = output.operand();
    step.uncond = uncond.operand();
    step.variance = variance.operand();
    for (int h = GENFUSE_COLUMN_y_h0; h < GENFUSE_COLUMN_y_noise; ++h) {
        row[h] = row[h + GENFUSE_COLUMN_s_x - GENFUSE_COLUMN_y_x] = 0;
    }
    const float scales[2 * kSamples] = {1, 2, 1, 2};
    step.scales = scales;
    step.row.table = row;
    step.row.rows = 1;
    step.seeds = seeds;
    step.seeds_stride = 1;
    step.walk = walk;
    emulation::launch(blocks_of(walk), kThreads, threads, run_step<order>, &step);
    PhiloxNormalArguments normal{output.operand(), seeds, 1, nullptr, 0, 7, 1, walk};
    emulation::launch(blocks_of(walk), kThreads, threads, run_normal<order>, &normal);
    printf("%.9g %.9g %.9g\n", x.sum(), stored.sum(), output.sum());
}

}  // namespace

int main(int, char** arguments) {
    const auto threads = static_cast<emulation::ThreadOrder>(atoi(arguments[2]));
    switch (atoi(arguments[1])) {
        case kFlat:
            check_reduce<kFlat>(threads);
            check<kFlat>(threads);
            break;
        case kChannelsLast:
            check<kChannelsLast>(threads);
            break;
        default:
            check_reduce<kPlanes>(threads);
            check<kPlanes>(threads);
    }
}
