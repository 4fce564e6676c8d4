/* The C interface of philox_lerp. Plain C; kernels/genfuse_kernels/philox_lerp/spec.py says what is computed.
 */
#ifndef GENFUSE_PHILOX_LERP_PARAMS_H
#define GENFUSE_PHILOX_LERP_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    genfuse_shape shape;
    genfuse_tensor out;   /* may be start or end */
    genfuse_tensor start; /* start or end may be absent, not both */
    genfuse_tensor end;
    int64_t seed;
    int64_t first; /* number of the first sample; those of all lie in [0, 2^32) */
    int32_t threads;
} genfuse_philox_lerp_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_philox_lerp(const genfuse_philox_lerp_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
