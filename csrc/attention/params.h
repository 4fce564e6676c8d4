/* The C interface of attention. Plain C; kernels/genfuse_kernels/attention/spec.py says what is computed. */
#ifndef GENFUSE_ATTENTION_PARAMS_H
#define GENFUSE_ATTENTION_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* (N, heads, tokens, channels), strides in elements. */
typedef struct {
    void* data;
    int64_t stride_n, stride_head, stride_token, stride_channel;
} genfuse_heads;

typedef struct {
    int32_t dtype; /* of all: float32, bfloat16 or float16 */
    int32_t threads;
    int64_t batch, heads, queries, keys;
    int64_t channels;           /* of q and k */
    int64_t value_channels;     /* of v and out */
    float scale;                /* of the scores */
    genfuse_heads q, k, v, out; /* out: stride_channel 1 */
} genfuse_attention_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_attention(const genfuse_attention_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
