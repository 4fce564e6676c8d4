/* Tensors as the kernels see them: a pointer and strides. Plain C. */
#ifndef GENFUSE_COMMON_TENSOR_H
#define GENFUSE_COMMON_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Axes that a tensor may have, the batch included. */
#define GENFUSE_MAX_AXES 16

typedef enum {
    GENFUSE_FLOAT32 = 0,
    GENFUSE_FLOAT64 = 1,
    GENFUSE_BFLOAT16 = 2,
    GENFUSE_FLOAT16 = 3,
} genfuse_dtype;

/* Sizes of every tensor of a call: (N, *S). */
typedef struct {
    int32_t dtype; /* genfuse_dtype */
    int32_t axes;  /* 1 .. GENFUSE_MAX_AXES */
    int64_t size[GENFUSE_MAX_AXES];
} genfuse_shape;

typedef struct {
    void* data;                       /* element (0, 0, ...); NULL: absent */
    int64_t stride[GENFUSE_MAX_AXES]; /* in elements, of each axis of the shape */
} genfuse_tensor;

/* What a call returns; anything but OK has written nothing. */
typedef enum {
    GENFUSE_OK = 0,
    GENFUSE_INVALID_ARGUMENT = 1,
    GENFUSE_OUT_OF_MEMORY = 2,
} genfuse_status;

/* Why a call failed: argument, got, expected. */
typedef struct {
    char text[256];
} genfuse_message;

#ifdef __cplusplus
}
#endif

#endif
