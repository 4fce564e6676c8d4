// A checked call of bias_act, as its kernel reads it.
#pragma once

#include "bias_act/params.h"
#include "common/dispatch.h"

namespace genfuse {

// Pixels of a unit where channels are adjacent.
constexpr int64_t kBiasActRows = 64;

GENFUSE_DECLARE_KERNEL(bias_act_units, genfuse_bias_act_args)

}  // namespace genfuse
