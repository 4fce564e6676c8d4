/* The C interface of bias_act. Plain C; kernels/genfuse_kernels/bias_act/spec.py says what is computed. */
#ifndef GENFUSE_BIAS_ACT_PARAMS_H
#define GENFUSE_BIAS_ACT_PARAMS_H

#include "common/activations.h"
#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Activations beside those that units have. */
enum {
    GENFUSE_ELU = GENFUSE_ACTIVATIONS,
    GENFUSE_SELU,
    GENFUSE_BIAS_ACTIVATIONS,
};

/* Images are dense, all in one order: (samples, channels, pixels), or (samples, pixels, channels). */
typedef struct {
    int32_t dtype; /* of x, gradient and out: float32, bfloat16 or float16 */
    int32_t threads;
    int32_t channels_last;
    int32_t activation;
    int64_t samples, channels, pixels;
    const void* x;        /* what was, or is to be, activated; of a gradient `of_result`: the result */
    const void* gradient; /* of the result: out is x's; NULL: out is the result */
    void* out;            /* may be gradient */
    const float* bias;    /* (channels,) or NULL */
    const float* scale;   /* (samples, channels) or NULL */
    const float* noise;   /* (pixels,), each sample's `noise_stride` behind the one before; or NULL */
    int64_t noise_stride;
    int32_t of_result;
    int32_t before_scale;     /* of a gradient: out is that of x·scale */
    float slope, gain, clamp; /* clamp 0 or more, infinite where there is none */
    /* Of a gradient, beside out: what bias and scale have, (parts, channels), or NULL. Parts are samples, or
     * with channels last genfuse_bias_act_blocks(pixels) of each. */
    double *bias_sums, *scale_sums;
} genfuse_bias_act_args;

int64_t genfuse_bias_act_blocks(int64_t pixels);

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_bias_act(const genfuse_bias_act_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
