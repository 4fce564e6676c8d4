// A checked call of sampler_reduce, as its kernels read it.
#pragma once

#include "common/dispatch.h"
#include "common/layout.h"
#include "sampler_reduce/params.h"
#include "sampler_step/program.h"

namespace genfuse {

constexpr int64_t kReduceBlock = 2048;  // fixed, so that sums do not depend on the threads

// Mean and sum of squared deviations of one block.
struct Moments {
    double mean = 0, squares = 0;
};

// Moments of one block of model_output and of the guided output.
struct BlockMoments {
    Moments conditional, guided;
};

// A unit is one block of one sample of [first_sample, first_sample + samples).
struct ReduceJob {
    int64_t numel;   // of a sample
    int64_t blocks;  // of a sample
    int64_t first_sample;
    Layout layout[3];  // of x, model_output, uncond
    const genfuse_sampler_reduce_args* args;
    const Sum* sums;        // of each sample: its guided output, or its x0
    BlockMoments* moments;  // of each unit
    void* magnitudes;       // |x0| of each sample, uint32_t or uint64_t by bits
};

GENFUSE_DECLARE_KERNEL(sampler_moments_units, ReduceJob)
GENFUSE_DECLARE_KERNEL(sampler_magnitudes_units, ReduceJob)

}  // namespace genfuse
