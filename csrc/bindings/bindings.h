// What the files of the Python extension share.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <stdexcept>

#include "common/tensor.h"

namespace genfuse {

void bind_attention(pybind11::module_& module);
void bind_conv(pybind11::module_& module);
void bind_ops(pybind11::module_& module);
void bind_plan(pybind11::module_& module);

// A tensor as Python hands it down: (data_ptr, strides), or None.
genfuse_tensor tensor_from(const pybind11::handle& given, int axes);

// From a dtype code and a tuple of sizes. ValueError where there are too many axes.
genfuse_shape shape_from(int dtype, const pybind11::tuple& sizes);

inline void* address(uintptr_t pointer) {
    return reinterpret_cast<void*>(pointer);
}

int64_t elements(const genfuse_shape& shape);

// Raises what the status stands for: ValueError, MemoryError.
void raise_unless_ok(genfuse_status status, const genfuse_message& message);

// Calls function(args, &message), without the interpreter's lock where the work outweighs letting go of it.
template <class Args>
void call(genfuse_status (*function)(const Args*, genfuse_message*), const Args& args) {
    constexpr int64_t worth_releasing = 32768;
    genfuse_message message{};
    genfuse_status status;
    if (elements(args.shape) < worth_releasing) {
        status = function(&args, &message);
    } else {
        pybind11::gil_scoped_release released;
        status = function(&args, &message);
    }
    raise_unless_ok(status, message);
}

}  // namespace genfuse
