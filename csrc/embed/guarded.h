// The border of the C interface: what is thrown inside becomes a status and the thread's message.
#pragma once

#include <exception>
#include <new>

#include "common/error.h"

namespace genfuse {

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
