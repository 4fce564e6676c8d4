/* The C interface of norm_tangent. Plain C; kernels/genfuse_kernels/norm_tangent/spec.py says what is
 * computed. */
#ifndef GENFUSE_NORM_TANGENT_PARAMS_H
#define GENFUSE_NORM_TANGENT_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All float32 and contiguous. */
typedef struct {
    int64_t rows, columns;               /* B sets of S values */
    int64_t weight_rows, weight_columns; /* R and K, divisors of B and S */
    const float *x, *tangent;            /* (B, S) */
    const float* weight;                 /* (R, K), or NULL: 1 */
    double eps;
    float* out;                           /* (B, S), or NULL */
    const float* gradient;                /* (B, S): of out, where any of these is wanted; or NULL */
    float *x_gradient, *tangent_gradient; /* (B, S), or NULL */
    float* weight_gradient;               /* (R, K), or NULL */
    int32_t threads;
} genfuse_norm_tangent_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_norm_tangent(const genfuse_norm_tangent_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
