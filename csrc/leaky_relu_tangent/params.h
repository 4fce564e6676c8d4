/* The C interface of leaky_relu_tangent. Plain C; kernels/genfuse_kernels/leaky_relu_tangent/spec.py says
 * what is computed. */
#ifndef GENFUSE_LEAKY_RELU_TANGENT_PARAMS_H
#define GENFUSE_LEAKY_RELU_TANGENT_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Dense, all in one order. */
typedef struct {
    int32_t dtype; /* of tangent and out: float32, bfloat16 or float16 */
    int64_t count;
    const void* tangent;
    const uint8_t* mask; /* 0 or 1 */
    float negative_slope, positive_slope;
    void* out; /* may be tangent */
    int32_t threads;
} genfuse_leaky_relu_tangent_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_leaky_relu_tangent(const genfuse_leaky_relu_tangent_args* args,
                                          genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
