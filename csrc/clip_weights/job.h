// A checked call of clip_weights, as its kernel reads it; a unit is a tile.
#pragma once

#include "clip_weights/params.h"
#include "common/dispatch.h"
#include "common/tensor_list.h"

namespace genfuse {

struct ClipJob {
    const Listed* parameters;
    const Tile* tiles;
    double bound;
};

GENFUSE_DECLARE_KERNEL(clip_weights_units, ClipJob)

}  // namespace genfuse
