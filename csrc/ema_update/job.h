// A checked call of ema_update, as its kernel reads it; a unit is a tile.
#pragma once

#include "common/dispatch.h"
#include "common/tensor_list.h"
#include "ema_update/params.h"

namespace genfuse {

struct EmaJob {
    const Listed* averages;
    const Listed* parameters;
    const Tile* tiles;
    double decay;
};

GENFUSE_DECLARE_KERNEL(ema_update_units, EmaJob)

}  // namespace genfuse
