/* The interface of sampler_step; kernels/genfuse_kernels/sampler_step/spec.py says what is
 * computed. */
#ifndef GENFUSE_SAMPLER_STEP_PARAMS_H
#define GENFUSE_SAMPLER_STEP_PARAMS_H

#include "common/tensor.h"
#include "sampler_step/columns.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    genfuse_shape shape;
    genfuse_tensor out, stored; /* stored may be absent */
    genfuse_tensor x, model_output, uncond, variance, noise, noise_prev;
    genfuse_tensor history[GENFUSE_HISTORY_SLOTS];
    int32_t history_slots; /* 0: no history */
    const double* table;   /* (rows, GENFUSE_ROW) */
    int64_t rows;
    int64_t row;          /* the row of every sample, where index is NULL */
    const int64_t* index; /* (N,): a row a sample */
    const int64_t* seeds; /* (N,), may be absent */
    uint32_t stream;
    const void* scales; /* (N, 2) float, double where the shape's dtype is float64; may be absent */
    int32_t threads;
} genfuse_sampler_step_args;

#ifdef __cplusplus
}
#endif

/* One step. Any status but GENFUSE_OK has written nothing but the message. Of C++ linkage: in the C library
 * the name is a sampler's. */
genfuse_status genfuse_sampler_step(const genfuse_sampler_step_args* args, genfuse_message* message);

#endif
