/* What stands between two kernels of a plan: copies, a few functions of each element, pooling, look-ups.
 * Plain C; engine/genfuse/rewrite/glue.py says which of PyTorch's calls they make. */
#ifndef GENFUSE_GLUE_PARAMS_H
#define GENFUSE_GLUE_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GENFUSE_GLUE_AXES 6

/* Strides in bytes, one an axis of the call; 0 where an element is repeated. */
typedef struct {
    void* data;
    int64_t stride[GENFUSE_GLUE_AXES];
} genfuse_strided;

typedef struct {
    int32_t axes; /* 1 .. GENFUSE_GLUE_AXES */
    int32_t threads;
    int64_t size[GENFUSE_GLUE_AXES];
    int64_t item;               /* bytes of an element */
    genfuse_strided to, source; /* their memory does not overlap */
} genfuse_copy_args;

typedef enum {
    GENFUSE_MULTIPLY = 0,
    GENFUSE_ADD = 1,
    GENFUSE_SUBTRACT = 2,
    GENFUSE_DIVIDE = 3,
    GENFUSE_SINE = 4, /* computed in float64 and rounded once, as is the cosine */
    GENFUSE_COSINE = 5,
    GENFUSE_FROM_INT64 = 6,     /* of a */
    GENFUSE_MULTIPLY_INT64 = 7, /* all of int64; wraps around */
} genfuse_elementwise_function;
#define GENFUSE_ELEMENTWISE_FUNCTIONS 8

/* to = function(a, b), of float32 but for the functions named after int64. */
typedef struct {
    int32_t function;
    int32_t axes;
    int32_t threads;
    int64_t size[GENFUSE_GLUE_AXES];
    genfuse_strided to, a, b; /* b.data NULL: `number` in its place */
    float number;
} genfuse_elementwise_args;

/* The mean of float32 over the last two axes, which `to` lacks; summed in their order. */
typedef struct {
    int32_t axes; /* of source, 3 or more */
    int32_t threads;
    int64_t size[GENFUSE_GLUE_AXES];
    genfuse_strided to, source;
} genfuse_window_args;

/* Rows of a table by number. */
typedef struct {
    int64_t rows, row_bytes, table_rows;
    const int64_t* index; /* (rows,) */
    const void* table;    /* (table_rows, row_bytes) */
    void* to;             /* (rows, row_bytes) */
} genfuse_gather_args;

/* Dense bfloat16 or float16 to float32. */
typedef struct {
    int32_t dtype;
    int64_t count;
    const void* source;
    float* to;
} genfuse_widen_args;

/* Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_copy(const genfuse_copy_args* args, genfuse_message* message);
genfuse_status genfuse_elementwise(const genfuse_elementwise_args* args, genfuse_message* message);
genfuse_status genfuse_window(const genfuse_window_args* args, genfuse_message* message);
genfuse_status genfuse_gather(const genfuse_gather_args* args, genfuse_message* message);
genfuse_status genfuse_widen(const genfuse_widen_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
