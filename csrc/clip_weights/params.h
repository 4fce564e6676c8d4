/* The C interface of clip_weights. Plain C; kernels/genfuse_kernels/clip_weights/spec.py says what is
 * computed. */
#ifndef GENFUSE_CLIP_WEIGHTS_PARAMS_H
#define GENFUSE_CLIP_WEIGHTS_PARAMS_H

#include "common/listed.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const genfuse_listed* parameters; /* changed in place; none overlaps another */
    int64_t count;
    double bound; /* at least 0 */
    int32_t threads;
} genfuse_clip_weights_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_clip_weights(const genfuse_clip_weights_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
