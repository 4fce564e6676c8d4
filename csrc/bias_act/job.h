// A checked call of bias_act, as its kernel reads it.
#pragma once

#include "bias_act/params.h"
#include "common/dispatch.h"

namespace genfuse {

// Elements that are worked on together: of a plane, or of as many planes as there is room for.
constexpr int64_t kBiasActPiece = 512;

int64_t bias_act_planes(int64_t pixels);

// Pixels of a unit where channels are adjacent.
constexpr int64_t kBiasActRows = 64;

GENFUSE_DECLARE_KERNEL(bias_act_units, genfuse_bias_act_args)

}  // namespace genfuse
