/* The C interface of norm_direction. Plain C; kernels/genfuse_kernels/norm_direction/spec.py says what is
 * computed. */
#ifndef GENFUSE_NORM_DIRECTION_PARAMS_H
#define GENFUSE_NORM_DIRECTION_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t dtype;         /* of x: float32, bfloat16 or float16 */
    int64_t batch, values; /* samples, one behind the other, and values of each */
    const void* x;
    float* norms;     /* (batch,) */
    float* direction; /* in x's order */
    int32_t threads;
} genfuse_norm_direction_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_norm_direction(const genfuse_norm_direction_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
