/* The C interface of norm_stats; kernels/genfuse_kernels/norm_stats/spec.py says what is computed. */
#ifndef GENFUSE_NORM_STATS_PARAMS_H
#define GENFUSE_NORM_STATS_PARAMS_H

#include "common/image.h"
#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t dtype; /* of x: float32, bfloat16 or float16 */
    int32_t threads;
    int64_t batch, height, width;
    genfuse_image x;
    float* stats; /* (N, C, 2), contiguous: mean and biased variance over space */
} genfuse_norm_stats_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_norm_stats(const genfuse_norm_stats_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
