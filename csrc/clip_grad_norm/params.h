/* The C interface of clip_grad_norm. Plain C; kernels/genfuse_kernels/clip_grad_norm/spec.py says what is
 * computed. */
#ifndef GENFUSE_CLIP_GRAD_NORM_PARAMS_H
#define GENFUSE_CLIP_GRAD_NORM_PARAMS_H

#include "common/listed.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const genfuse_listed* gradients; /* scaled in place; none overlaps another */
    int64_t count;
    double max_norm; /* at least 0 */
    int32_t finite;  /* whether gradients whose norm is not finite are left as they are */
    int32_t threads;
    double* norm; /* gets the norm, rounded to float32 where no gradient is float64 */
} genfuse_clip_grad_norm_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_clip_grad_norm(const genfuse_clip_grad_norm_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
