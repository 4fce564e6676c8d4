/* The C interface of the gradient of a unit's weights. Plain C. */
#ifndef GENFUSE_CONV_WEIGHT_GRADIENT_H
#define GENFUSE_CONV_WEIGHT_GRADIENT_H

#include "conv_norm_act/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    /* The unit's call, of which x, skip, prologue and conv are read, and `out`: the gradient of what the
     * convolution put out. The kernel is chosen anew. */
    genfuse_conv_norm_act_args unit;
    void* weight;         /* as PyTorch has weights, (K, C/groups, kernel height, width), transposed
                           * (C, K/groups, ...), contiguous */
    int32_t weight_dtype; /* float32, or bfloat16: rounded once, of the whole sum */
    int32_t accumulate;   /* 1: added to what is there, float32 */
    int32_t exact;        /* 1: without Winograd */
} genfuse_weight_gradient_args;

/* Σ over samples and pixels of the gradient times what the convolution read there, which is normalised and
 * activated anew. The order of each sum follows from the shapes alone. Any status but GENFUSE_OK has written
 * nothing but the message. */
genfuse_status genfuse_weight_gradient(const genfuse_weight_gradient_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
