// Errors of the C interface: thrown inside, a status and the thread's message outside.
#pragma once

#include <stdio.h>

#include <exception>
#include <new>

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

// Keeps the calling thread's message, and returns the status.
genfuse_status report(genfuse_status status, const char* text) noexcept;

// Runs `work`, the body of a function of the C interface: nothing that is thrown goes beyond.
template <class Work>
genfuse_status guarded(Work work) noexcept {
    try {
        work();
        return GENFUSE_OK;
    } catch (const Error& error) {
        return report(error.status, error.text);
    } catch (const std::bad_alloc&) {
        return report(GENFUSE_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception& error) {
        return report(GENFUSE_INTERNAL, error.what());
    } catch (...) {
        return report(GENFUSE_INTERNAL, "an exception of unknown type");
    }
}

}  // namespace genfuse
