// What the C library's own code throws; embed/guarded.h turns it into a status and the thread's message.
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "include/genfuse_tensor.h"

namespace genfuse {

constexpr size_t kErrorText = 512;

// What was wrong, what was expected, what to do; without an allocation of its own.
struct Error {
    genfuse_status status;
    char text[kErrorText];
};

template <class... Values>
[[noreturn]] void fail(genfuse_status status, const char* format, Values... values) {
    Error error{status, {}};
    snprintf(error.text, sizeof error.text, format, values...);
    throw error;
}

template <class... Values>
[[noreturn]] void refuse(const char* format, Values... values) {
    fail(GENFUSE_INVALID_ARGUMENT, format, values...);
}

}  // namespace genfuse
