/* Tensors as the kernels see them, and how a kernel's call says what is wrong. Plain C. */
#ifndef GENFUSE_COMMON_TENSOR_H
#define GENFUSE_COMMON_TENSOR_H

#include "include/genfuse_tensor.h"

/* Why a call failed: argument, got, expected. */
typedef struct {
    char text[256];
} genfuse_message;

#endif
