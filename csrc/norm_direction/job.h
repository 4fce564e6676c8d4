// A checked call of norm_direction, as its kernel reads it; a unit is a sample.
#pragma once

#include "common/dispatch.h"
#include "norm_direction/params.h"

namespace genfuse {

GENFUSE_DECLARE_KERNEL(norm_direction_units, genfuse_norm_direction_args)

}  // namespace genfuse
