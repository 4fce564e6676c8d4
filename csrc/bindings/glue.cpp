// What stands between two kernels of a plan: csrc/glue.
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "glue/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

using Sizes = std::vector<int64_t>;
using Strided = std::pair<uintptr_t, Sizes>;  // an address and strides in bytes

int32_t set_sizes(int64_t (&to)[GENFUSE_GLUE_AXES], const Sizes& sizes) {
    if (sizes.empty() || sizes.size() > GENFUSE_GLUE_AXES)
        throw std::invalid_argument("expected 1 to 6 axes");
    std::copy(sizes.begin(), sizes.end(), to);
    return static_cast<int32_t>(sizes.size());
}

genfuse_strided strided_of(const Strided& given, size_t axes) {
    genfuse_strided strided{};
    if (!given.first) return strided;
    if (given.second.size() != axes) throw std::invalid_argument("expected as many strides as sizes");
    strided.data = address(given.first);
    std::copy(given.second.begin(), given.second.end(), strided.stride);
    return strided;
}

void call_copy(const Sizes& sizes, int64_t item, const Strided& to, const Strided& source, int32_t threads) {
    genfuse_copy_args args{};
    args.axes = set_sizes(args.size, sizes);
    args.threads = threads;
    args.item = item;
    args.to = strided_of(to, sizes.size());
    args.source = strided_of(source, sizes.size());
    run_recorded(genfuse_copy, args);
}

void call_elementwise(const std::string& name, const Sizes& sizes, const Strided& to, const Strided& a,
                      const Strided& b, float number, int32_t threads) {
    static const char* const names[GENFUSE_ELEMENTWISE_FUNCTIONS] = {"mul", "add", "sub",        "div",
                                                                     "sin", "cos", "from_int64", "mul_int64"};
    genfuse_elementwise_args args{};
    while (args.function < GENFUSE_ELEMENTWISE_FUNCTIONS && name != names[args.function]) ++args.function;
    if (args.function == GENFUSE_ELEMENTWISE_FUNCTIONS)
        throw std::invalid_argument("function is '" + name + "', which is none");
    args.axes = set_sizes(args.size, sizes);
    args.threads = threads;
    args.to = strided_of(to, sizes.size());
    args.a = strided_of(a, sizes.size());
    args.b = strided_of(b, sizes.size());
    args.number = number;
    run_recorded(genfuse_elementwise, args);
}

void call_window(const Sizes& sizes, const Strided& to, const Strided& source, int32_t threads) {
    if (sizes.size() < 3) throw std::invalid_argument("expected 3 axes or more");
    genfuse_window_args args{};
    args.axes = set_sizes(args.size, sizes);
    args.threads = threads;
    args.to = strided_of(to, sizes.size() - 2);
    args.source = strided_of(source, sizes.size());
    run_recorded(genfuse_window, args);
}

void call_gather(int64_t rows, int64_t row_bytes, int64_t table_rows, uintptr_t index, uintptr_t table,
                 uintptr_t to) {
    const genfuse_gather_args args{rows,           row_bytes,
                                   table_rows,     static_cast<const int64_t*>(address(index)),
                                   address(table), address(to)};
    run_recorded(genfuse_gather, args);
}

void call_widen(int32_t dtype, uintptr_t source, int64_t count, uintptr_t to) {
    const genfuse_widen_args args{dtype, count, address(source), floats(to)};
    run_recorded(genfuse_widen, args);
}

}  // namespace

void bind_glue(py::module_& module) {
    module.def("widen", &call_widen, py::arg("dtype"), py::arg("source"), py::arg("count"), py::arg("to"),
               "Dense bfloat16 or float16 to float32.");
    module.def("copy", &call_copy, py::arg("sizes"), py::arg("item"), py::arg("to"), py::arg("source"),
               py::arg("threads") = 1,
               "Elements of `item` bytes; `to` and `source` are an address and strides in bytes.");
    module.def(
        "elementwise", &call_elementwise, py::arg("function"), py::arg("sizes"), py::arg("to"), py::arg("a"),
        py::arg("b"), py::arg("number"), py::arg("threads") = 1,
        "Of float32 (int64 for from_int64): (address, strides in bytes) each; b may be at 0, then it is "
        "`number`.");
    module.def("window", &call_window, py::arg("sizes"), py::arg("to"), py::arg("source"),
               py::arg("threads") = 1, "The mean of float32 over the last two axes, which `to` lacks.");
    module.def("gather", &call_gather, py::arg("rows"), py::arg("row_bytes"), py::arg("table_rows"),
               py::arg("index"), py::arg("table"), py::arg("to"), "Rows of a table by number.");
}

}  // namespace genfuse
