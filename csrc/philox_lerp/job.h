// A checked call of philox_lerp, as its kernel reads it.
#pragma once

#include "common/dispatch.h"
#include "common/layout.h"
#include "philox_lerp/params.h"

namespace genfuse {

// A unit is one tile of one sample; elements run in logical order or, with `direct`, in memory's, which is
// then that of all tensors.
struct LerpJob {
    int64_t numel;  // of a sample
    int64_t tile;
    int64_t tiles;  // of a sample
    bool direct;
    Layout out, start, end;
    const genfuse_philox_lerp_args* args;
};

GENFUSE_DECLARE_KERNEL(philox_lerp_units, LerpJob)

}  // namespace genfuse
