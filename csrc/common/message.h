// Errors of the C interface: a status and a sentence.
#pragma once

#include <stdio.h>

#include "common/tensor.h"

namespace genfuse {

// Writes "argument, got, expected" and returns the status that goes with it.
template <class... Values>
genfuse_status invalid(genfuse_message* message, const char* format, Values... values) {
    if (message) snprintf(message->text, sizeof message->text, format, values...);
    return GENFUSE_INVALID_ARGUMENT;
}

// Whether the shape's dtype, axes and sizes can be worked with.
inline genfuse_status check_shape(const genfuse_shape& shape, genfuse_message* message) {
    if (shape.dtype < GENFUSE_FLOAT32 || shape.dtype > GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, float64, bfloat16 or float16",
                       shape.dtype);
    }
    if (shape.axes < 1 || shape.axes > GENFUSE_MAX_AXES) {
        return invalid(message, "x has %d axes, expected 1 to %d: (N, ...)", shape.axes, GENFUSE_MAX_AXES);
    }
    for (int axis = 0; axis < shape.axes; ++axis) {
        if (shape.size[axis] < 0) {
            return invalid(message, "axis %d of x has size %lld, expected none negative", axis,
                           static_cast<long long>(shape.size[axis]));
        }
    }
    return GENFUSE_OK;
}

}  // namespace genfuse
