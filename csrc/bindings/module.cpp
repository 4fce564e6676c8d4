// The extension genfuse_kernels._cpu: instruction sets, and the shared pieces of its bindings.
#include <dlfcn.h>

#include "bindings/bindings.h"
#include "build_facts.h"
#include "common/cpuid.h"
#include "common/thread_pool.h"
#include "philox_normal/params.h"
#include "sampler_step/params.h"

namespace py = pybind11;

namespace genfuse {

genfuse_tensor tensor_from(const py::handle& given, int axes) {
    genfuse_tensor tensor{};
    if (given.is_none()) return tensor;
    const auto pair = given.cast<py::tuple>();
    const auto strides = py::reinterpret_borrow<py::tuple>(pair[1]);
    if (static_cast<int>(strides.size()) != axes) {
        throw std::invalid_argument("a tensor has " + std::to_string(strides.size()) + " strides, expected " +
                                    std::to_string(axes) + " as x has axes");
    }
    tensor.data = address(pair[0].cast<uintptr_t>());
    for (int axis = 0; axis < axes; ++axis) {
        tensor.stride[axis] = PyLong_AsLongLong(PyTuple_GET_ITEM(strides.ptr(), axis));
    }
    return tensor;
}

genfuse_shape shape_from(int dtype, const py::tuple& sizes) {
    if (sizes.size() < 1 || sizes.size() > GENFUSE_MAX_AXES) {
        throw std::invalid_argument("x has " + std::to_string(sizes.size()) + " axes, expected 1 to " +
                                    std::to_string(GENFUSE_MAX_AXES) + ": (N, ...)");
    }
    genfuse_shape shape{};
    shape.dtype = dtype;
    shape.axes = static_cast<int32_t>(sizes.size());
    for (int axis = 0; axis < shape.axes; ++axis) {
        shape.size[axis] = PyLong_AsLongLong(PyTuple_GET_ITEM(sizes.ptr(), axis));
    }
    return shape;
}

int64_t elements(const genfuse_shape& shape) {
    int64_t count = 1;
    for (int axis = 0; axis < shape.axes; ++axis) count *= shape.size[axis];
    return count;
}

void raise_unless_ok(genfuse_status status, const genfuse_message& message) {
    if (status == GENFUSE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (status != GENFUSE_OK) throw std::invalid_argument(message.text);
}

namespace {

py::tuple available_isas() {
    py::list names;
    for (int isa = 0; isa < kIsas; ++isa) {
        if (isa_available(static_cast<Isa>(isa))) names.append(isa_name(static_cast<Isa>(isa)));
    }
    return py::tuple(names);
}

void set_isa_by_name(const std::string& name) {
    for (int isa = 0; isa < kIsas; ++isa) {
        if (name == isa_name(static_cast<Isa>(isa)) && set_isa(static_cast<Isa>(isa))) return;
    }
    throw std::invalid_argument("isa is '" + name + "', expected one of " +
                                py::str(", ").attr("join")(available_isas()).cast<std::string>());
}

py::tuple columns() {
    py::list names;
#define COLUMN_NAME(name) names.append(#name);
#define TERM_NAME(output, term) names.append(#output "_" #term);
    GENFUSE_COLUMNS(COLUMN_NAME, TERM_NAME)
    return py::tuple(names);
}

// Into the OpenMP team of the PyTorch that is loaded, or out of it. Nothing is linked: the runtime is the one
// that PyTorch found.
bool share_torch_threads(bool share) {
    Team team{};
    void* const torch = share ? dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD) : nullptr;
    if (torch) {
        team.run = reinterpret_cast<decltype(team.run)>(dlsym(torch, "GOMP_parallel"));
        team.number = reinterpret_cast<decltype(team.number)>(dlsym(torch, "omp_get_thread_num"));
        dlclose(torch);
    }
    if (!team.run || !team.number) team = {};
    join_team(team);
    return in_team();
}

}  // namespace
}  // namespace genfuse

PYBIND11_MODULE(_cpu, module) {
    using namespace genfuse;
    module.doc() = "genfuse's CPU kernels";
    module.def("isa", [] { return isa_name(current_isa()); }, "The instruction set in use.");
    module.def("available_isas", &available_isas, "Instruction sets of this machine, best last.");
    module.def("set_isa", &set_isa_by_name, py::arg("name"), "Use another instruction set, for tests.");
    module.def("share_torch_threads", &share_torch_threads, py::arg("share"),
               "Run on PyTorch's OpenMP threads, or on a pool of our own; whether it is PyTorch's now.");
    module.def("shares_torch_threads", &in_team, "Whether kernels run on PyTorch's OpenMP threads.");
    share_torch_threads(true);
    module.attr("COMMIT") = GENFUSE_BUILD_COMMIT;
    module.attr("COMPILER") = GENFUSE_BUILD_COMPILER;
    module.attr("COLUMNS") = columns();
    module.attr("ROW") = GENFUSE_ROW;
    module.attr("HISTORY_SLOTS") = GENFUSE_HISTORY_SLOTS;
    module.attr("MAX_AXES") = GENFUSE_MAX_AXES;
    module.attr("STREAMS") =
        py::make_tuple(static_cast<int>(GENFUSE_STREAM_STEP), static_cast<int>(GENFUSE_STREAM_INIT),
                       static_cast<int>(GENFUSE_STREAM_FORWARD));
    bind_attention(module);
    bind_bias_act(module);
    bind_conv(module);
    bind_glue(module);
    bind_gradient(module);
    bind_lists(module);
    bind_memory(module);
    bind_network(module);
    bind_ops(module);
    bind_plan(module);
    bind_program(module);
    bind_spectral_norm(module);
    bind_resample(module);
}
