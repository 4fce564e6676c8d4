// A checked call of clip_grad_norm, as its kernels read it; a unit is a tile.
#pragma once

#include "clip_grad_norm/params.h"
#include "common/dispatch.h"
#include "common/tensor_list.h"

namespace genfuse {

struct SquaresJob {
    const Listed* gradients;
    const Tile* tiles;
    double* sums;  // by the tiles' numbers
};

struct ScaleJob {
    const Listed* gradients;
    const Tile* tiles;
    double coefficient;
};

GENFUSE_DECLARE_KERNEL(sum_squares_units, SquaresJob)
GENFUSE_DECLARE_KERNEL(scale_units, ScaleJob)

}  // namespace genfuse
