// From the C library's own code to a kernel's interface.
#pragma once

#include <new>

#include "common/error.h"
#include "common/scratch.h"
#include "common/tensor.h"

namespace genfuse {

// Runs function(args, &message) once this thread has its working memory, and throws what its status stands
// for.
template <class Args>
void call(genfuse_status (*function)(const Args*, genfuse_message*), const Args& args) {
    if (!has_scratch()) throw std::bad_alloc();
    genfuse_message message{};
    const genfuse_status status = function(&args, &message);
    if (status == GENFUSE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (status != GENFUSE_OK) fail(status, "%s", message.text);
}

}  // namespace genfuse
