/* The C interface of the prologue's gradient: from that of what a convolution reads to those of its input,
 * norm and embedding. Plain C; kernels/genfuse_kernels/conv_norm_act/norm_gradient.py says what is computed.
 */
#ifndef GENFUSE_CONV_NORM_ACT_PROLOGUE_GRADIENT_PARAMS_H
#define GENFUSE_CONV_NORM_ACT_PROLOGUE_GRADIENT_PARAMS_H

#include "conv_norm_act/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t dtype; /* of all images: float32, bfloat16 or float16 */
    int32_t threads;
    int64_t batch, height, width;
    genfuse_image x, skip;     /* skip: further channels behind x's, or absent */
    genfuse_prologue prologue; /* with stats where the norm is over the batch or groups */
    int32_t through_stats;     /* stats are x's and skip's own: their gradient goes on to x and skip */
    genfuse_image gradient;    /* of the prologue's result, (N, C, H, W) with x's and skip's channels */
    /* Wanted gradients, or absent. Images may be `gradient`'s own memory, or their channels of it, laid out
     * like it; no other memory is shared. */
    genfuse_image x_gradient, skip_gradient;
    genfuse_image x_added, skip_added; /* what is added to these, or absent */
    float* weight_gradient;            /* (C,), or (N, C) where prologue.weight_stride is not 0 */
    float* bias_gradient;              /* likewise */
    float* film_scale_gradient;        /* (N, C) */
    float* film_shift_gradient;        /* (N, C) */
    float* stats_gradient;             /* (N, C, 2), without through_stats */
} genfuse_prologue_gradient_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_prologue_gradient(const genfuse_prologue_gradient_args* args,
                                         genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
