/* The C interface of spectral_norm. Plain C; kernels/genfuse_kernels/spectral_norm/spec.py says what is
 * computed. */
#ifndef GENFUSE_SPECTRAL_NORM_PARAMS_H
#define GENFUSE_SPECTRAL_NORM_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A weight of sizes [outer][rows][inner], all at least 1: a matrix of `rows` rows, whose columns are
 * [outer][inner]. All memory is dense and of one dtype, float32, bfloat16 or float16, but where it is said.
 */
typedef struct {
    int32_t dtype;
    int64_t outer, rows, inner;
    const void* weight;
    void *u, *v;      /* [rows], [outer][inner]: read, and with steps > 0 changed */
    float* vectors;   /* [rows + outer*inner], float32: gets u and v as the norm goes by them */
    void* normalised; /* gets the weight over its norm; does not overlap it */
} genfuse_spectral_layer;

typedef struct {
    const genfuse_spectral_layer* layers;
    int64_t count;
    int32_t steps; /* of the power iteration, at least 0 */
    double eps;    /* the least norm of a vector, at least 0 */
    int32_t threads;
    float* sigmas; /* [count]: gets the norms */
} genfuse_spectral_norm_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_spectral_norm(const genfuse_spectral_norm_args* args, genfuse_message* message);

typedef struct {
    int32_t dtype;
    int64_t outer, rows, inner;
    const void *gradient, *normalised; /* of the normalised weight, and this */
    const float* vectors;              /* as above */
    float sigma;
    void* out; /* gets the weight's gradient; may be `gradient` */
} genfuse_spectral_gradient;

typedef struct {
    const genfuse_spectral_gradient* layers;
    int64_t count;
    int32_t threads;
} genfuse_spectral_norm_gradient_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_spectral_norm_gradient(const genfuse_spectral_norm_gradient_args* args,
                                              genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
