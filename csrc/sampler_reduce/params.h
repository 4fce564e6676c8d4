/* The C interface of sampler_reduce. Plain C; kernels/genfuse_kernels/sampler_reduce/spec.py says what is
 * computed. */
#ifndef GENFUSE_SAMPLER_REDUCE_PARAMS_H
#define GENFUSE_SAMPLER_REDUCE_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    genfuse_shape shape;
    genfuse_tensor x, model_output, uncond; /* uncond may be absent */
    const double* table;                    /* (rows, GENFUSE_ROW) */
    int64_t rows;
    int64_t row;          /* the row of every sample, where index is NULL */
    const int64_t* index; /* (N,): a row a sample */
    void* scales;         /* (N, 2) float, double where the shape's dtype is float64 */
    int32_t threads;
} genfuse_sampler_reduce_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_sampler_reduce(const genfuse_sampler_reduce_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
