/* A tensor of a list that one call works through. Plain C. */
#ifndef GENFUSE_COMMON_LISTED_H
#define GENFUSE_COMMON_LISTED_H

#include "common/tensor.h"

/* At most GENFUSE_MAX_AXES - 1 axes, at least one. */
typedef struct {
    genfuse_shape shape;
    genfuse_tensor tensor;
} genfuse_listed;

#endif
