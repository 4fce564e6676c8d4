// A checked call of philox_normal, as its kernels read it.
#pragma once

#include "common/dispatch.h"
#include "common/layout.h"
#include "philox_normal/params.h"

namespace genfuse {

// A unit is one tile of one sample; elements run in logical order, or, with `channels` above 0, in the order
// of a dense channels-last sample.
struct NormalJob {
    int64_t numel;  // of a sample
    int64_t tile;
    int64_t tiles;  // of a sample
    int64_t channels;
    Layout layout;
    const genfuse_philox_normal_args* args;
};

struct WordsJob {
    uint32_t* words;
    int64_t blocks, first_block, seed;
    uint32_t row, stream;
};

GENFUSE_DECLARE_KERNEL(philox_normal_units, NormalJob)
GENFUSE_DECLARE_KERNEL(philox_words_units, WordsJob)

}  // namespace genfuse
