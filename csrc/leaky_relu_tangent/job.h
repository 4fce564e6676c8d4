// A checked call of leaky_relu_tangent, as its kernel reads it.
#pragma once

#include "common/dispatch.h"
#include "leaky_relu_tangent/params.h"

namespace genfuse {

// Elements of a unit.
constexpr int64_t kLeakyReluTangentPiece = 1024;

GENFUSE_DECLARE_KERNEL(leaky_relu_tangent_units, genfuse_leaky_relu_tangent_args)

}  // namespace genfuse
