/* The C interface of upfirdn2d; kernels/genfuse_kernels/upfirdn2d/spec.py says what is computed. */
#ifndef GENFUSE_UPFIRDN2D_PARAMS_H
#define GENFUSE_UPFIRDN2D_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t dtype; /* of x and out */
    int32_t threads;
    int32_t channels_last; /* (N, H, W, C) in memory, both; else (N, C, H, W) */
    int32_t separable;
    int64_t batch, channels, height, width, out_height, out_width;
    const void* x; /* dense, as is out */
    void* out;
    /* Factors of a correlation, gain included: (filter_height, filter_width); separable: those of y, then
     * those of x. */
    const double* filter;
    int64_t filter_height, filter_width;
    int64_t up_x, up_y, down_x, down_y;
    int64_t pad_x, pad_y; /* left and top, negative: cut off */
} genfuse_upfirdn2d_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_upfirdn2d(const genfuse_upfirdn2d_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
