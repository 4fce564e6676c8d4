/* The C interface of philox_normal. Plain C; kernels/genfuse_kernels/philox_normal/spec.py says what is
 * drawn. */
#ifndef GENFUSE_PHILOX_NORMAL_PARAMS_H
#define GENFUSE_PHILOX_NORMAL_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the noise is for: the last word of the counter (philox_normal/spec.py, STREAM_*). */
enum {
    GENFUSE_STREAM_STEP = 0,
    GENFUSE_STREAM_INIT = 1,
    GENFUSE_STREAM_FORWARD = 2,
    GENFUSE_STREAM_DROPOUT = 3,
    GENFUSE_STREAM_INTERPOLATION = 4
};

typedef struct {
    genfuse_shape shape;
    genfuse_tensor out;
    const int64_t* seeds; /* (N,) */
    const int64_t* rows;  /* (N,): a row a sample; NULL: `row` for all */
    int64_t row;          /* rows lie in [0, 2^32) */
    uint32_t stream;
    int32_t threads;
} genfuse_philox_normal_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_philox_normal(const genfuse_philox_normal_args* args, genfuse_message* message);

/* The 4·blocks words of one sample's first blocks: for tests. */
void genfuse_philox_words(uint32_t* words, int64_t blocks, int64_t first_block, int64_t seed, uint32_t row,
                          uint32_t stream);

#ifdef __cplusplus
}
#endif

#endif
