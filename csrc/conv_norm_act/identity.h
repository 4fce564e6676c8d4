// Sizes that the kernel of a unit without a convolution and its launcher agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace identity {

struct Frame {
    __attribute__((always_inline)) Frame(const ConvJob& job, float* memory) {
        stretches = (job.rows + job.rows_a_unit - 1) / job.rows_a_unit;
        Carver carver(memory);
        pixels = carver.take<float>(2 * job.args->width * kBlock);  // an even row and an odd one
        residual = carver.take<float>(job.args->width * kBlock);
        used = carver.used();
    }

    int64_t stretches;  // of rows, of a sample's channel block
    float *pixels, *residual;
    size_t used;
};

}  // namespace identity
}  // namespace genfuse
