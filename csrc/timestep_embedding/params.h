/* The C interface of timestep_embedding. Plain C; kernels/genfuse_kernels/timestep_embedding/spec.py says
 * what is computed. */
#ifndef GENFUSE_TIMESTEP_EMBEDDING_PARAMS_H
#define GENFUSE_TIMESTEP_EMBEDDING_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const void* t;   /* (batch,) */
    int32_t t_dtype; /* float32 or float64 */
    int64_t batch, channels;
    int32_t flip_sin_to_cos;
    double downscale_freq_shift, scale, max_period;
    void* out;     /* (batch, channels), contiguous */
    int32_t dtype; /* of out: float32 or float64 */
} genfuse_timestep_embedding_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_timestep_embedding(const genfuse_timestep_embedding_args* args,
                                          genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
