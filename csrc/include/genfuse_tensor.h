/* Tensors as genfuse sees them: a pointer and strides; and what every call returns. Included by genfuse.h. */
#ifndef GENFUSE_TENSOR_H
#define GENFUSE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Axes that a tensor may have, the batch included. */
#define GENFUSE_MAX_AXES 16

/* Half precision is storage: arithmetic on it is float32. float64 stays float64 throughout. */
typedef enum {
    GENFUSE_FLOAT32 = 0,
    GENFUSE_FLOAT64 = 1,
    GENFUSE_BFLOAT16 = 2,
    GENFUSE_FLOAT16 = 3
} genfuse_dtype;

/* Sizes of every tensor of a call: (N, *S), N samples of any shape S. */
typedef struct {
    int32_t dtype; /* genfuse_dtype */
    int32_t axes;  /* 1 .. GENFUSE_MAX_AXES */
    int64_t size[GENFUSE_MAX_AXES];
} genfuse_shape;

typedef struct {
    void* data;                       /* element (0, 0, ...); NULL: absent */
    int64_t stride[GENFUSE_MAX_AXES]; /* in elements, of each axis of the shape */
} genfuse_tensor;

/* What a call returns; anything but OK has changed nothing that it was given. Values are never reused. */
typedef enum {
    GENFUSE_OK = 0,
    GENFUSE_INVALID_ARGUMENT = 1, /* an argument that does not fit; the message names it */
    GENFUSE_OUT_OF_MEMORY = 2,
    GENFUSE_UNSUPPORTED = 3, /* right, but not built into this library or not for this machine */
    GENFUSE_IO_ERROR = 4,    /* a file that the system does not let us read */
    GENFUSE_BAD_FILE = 5,    /* a file that is corrupt, cut off, or of another version */
    GENFUSE_INTERNAL = 6     /* a mistake of the library's own: please report it, with the message */
} genfuse_status;

#ifdef __cplusplus
}
#endif

#endif
