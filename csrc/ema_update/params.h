/* The C interface of ema_update. Plain C; kernels/genfuse_kernels/ema_update/spec.py says what is computed.
 */
#ifndef GENFUSE_EMA_UPDATE_PARAMS_H
#define GENFUSE_EMA_UPDATE_PARAMS_H

#include "common/listed.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const genfuse_listed* averages; /* changed in place; none overlaps another, or a parameter but its own */
    const genfuse_listed*
        parameters; /* of the averages' sizes; float64 where the average is, and only there */
    int64_t count;  /* of either */
    double decay;   /* in [0, 1] */
    int32_t threads;
} genfuse_ema_update_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_ema_update(const genfuse_ema_update_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
