// A checked call of norm_tangent, as its kernels read it.
#pragma once

#include "common/dispatch.h"
#include "norm_tangent/params.h"

namespace genfuse {

// What a set's sums come to: with xc = x - mean, tc = tangent - tangent_mean and w = gradient·weight
//     out               weight·(tc·along + xc·across + offset)
//     x_gradient        w·across + xc·of_x + tc·of_tangent + constant
//     tangent_gradient  w·along + xc·of_tangent + shift
struct NormTangentSet {
    float mean, tangent_mean, along, across, offset, of_x, of_tangent, constant, shift;
};

struct NormTangentJob {
    const genfuse_norm_tangent_args* args;
    NormTangentSet* sets;  // (B,)
    float* partial;        // (B, K): each set's share of weight_gradient, where K < S
};

// Columns of a unit of norm_tangent_columns.
constexpr int64_t kNormTangentColumns = 512;

// Units are sets: their sums, and all results where a weight is one of several columns.
GENFUSE_DECLARE_KERNEL(norm_tangent_sets, NormTangentJob)

// Where each column has a weight of its own. Units are kNormTangentColumns columns of a row of weights.
GENFUSE_DECLARE_KERNEL(norm_tangent_columns, NormTangentJob)

}  // namespace genfuse
