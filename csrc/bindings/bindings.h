// What the files of the Python extension share.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/image.h"
#include "common/tensor.h"
#include "network/describe.h"

namespace genfuse {

void bind_attention(pybind11::module_& module);
void bind_bias_act(pybind11::module_& module);
void bind_conv(pybind11::module_& module);
void bind_glue(pybind11::module_& module);
void bind_gradient(pybind11::module_& module);
void bind_lists(pybind11::module_& module);
void bind_memory(pybind11::module_& module);
void bind_network(pybind11::module_& module);
void bind_ops(pybind11::module_& module);
void bind_plan(pybind11::module_& module);
void bind_program(pybind11::module_& module);
void bind_spectral_norm(pybind11::module_& module);
void bind_resample(pybind11::module_& module);

// A tensor as Python hands it down: (data_ptr, strides), or None.
genfuse_tensor tensor_from(const pybind11::handle& given, int axes);

// From a dtype code and a tuple of sizes. ValueError where there are too many axes.
genfuse_shape shape_from(int dtype, const pybind11::tuple& sizes);

inline void* address(uintptr_t pointer) {
    return reinterpret_cast<void*>(pointer);
}

inline float* floats(uintptr_t pointer) {
    return static_cast<float*>(address(pointer));
}

// From (address, layout, channels, stride_n, stride_c, stride_h, stride_w), or None.
genfuse_image image_from(const pybind11::object& given);

int64_t elements(const genfuse_shape& shape);

// Raises what the status stands for: ValueError, MemoryError.
void raise_unless_ok(genfuse_status status, const genfuse_message& message);

// Calls of kernels in the order they were made, to be made again with the same addresses.
class Program {
  public:
    using Call = std::function<genfuse_status(genfuse_message*)>;
    using Description = std::function<void(Fields&)>;

    void start();
    void stop();
    void add(const char* name, Call call, Description description);
    size_t size() const { return steps_.size(); }
    void shorten(size_t size);
    const char* name(size_t step) const { return steps_.at(step).name; }
    // Visits the fields of a call; what the visitor sets is lost.
    void describe(size_t step, Fields& fields) const { steps_.at(step).description(fields); }
    void watch(uintptr_t data, int64_t bytes);
    bool unchanged() const;
    void run(size_t begin, size_t end) const;

  private:
    struct Step {
        const char* name;
        Call call;
        Description description;
    };
    struct Watched {
        uintptr_t data;
        int64_t bytes;
        uint64_t sum;
    };
    std::vector<Step> steps_;
    std::vector<Watched> watched_;
};

// The program that records what this thread calls, or NULL.
Program* recording();

// Calls function(args..., &message) without the interpreter's lock, and raises what its status stands for.
template <class Function, class... Args>
void call_released(Function function, Args... args) {
    genfuse_message message{};
    genfuse_status status;
    {
        pybind11::gil_scoped_release released;
        status = function(args..., &message);
    }
    raise_unless_ok(status, message);
}

// Runs function(args, &message) without the interpreter's lock, and records it.
template <class Args>
void run_recorded(genfuse_status (*function)(const Args*, genfuse_message*), const Args& args) {
    call_released(function, &args);
    if (!recording()) return;
    recording()->add(
        name_of(args), [function, args](genfuse_message* text) { return function(&args, text); },
        [args](Fields& fields) {
            Args copy = args;
            describe(fields, copy);
        });
}

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
