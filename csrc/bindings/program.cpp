// Calls of kernels that were made once, to be made again with the same addresses.
#include <pybind11/stl.h>

#include <cstring>

#include "bindings/bindings.h"
#include "common/checksum.h"

namespace py = pybind11;

namespace genfuse {
namespace {

thread_local Program* recorder = nullptr;

struct CopyRows {
    char* to;
    const char* from;  // dense
    int64_t pitch, rows, bytes;
};

genfuse_status copy(const CopyRows* args, genfuse_message*) {
    for (int64_t row = 0; row < args->rows; ++row) {
        std::memcpy(args->to + row * args->pitch, args->from + row * args->bytes,
                    static_cast<size_t>(args->bytes));
    }
    return GENFUSE_OK;
}

void copy_rows(uintptr_t to, int64_t pitch, uintptr_t from, int64_t rows, int64_t bytes) {
    const CopyRows args{static_cast<char*>(address(to)), static_cast<const char*>(address(from)), pitch, rows,
                        bytes};
    run_recorded(copy, args, {args.to, args.from});
}

}  // namespace

Program* recording() {
    return recorder;
}

void Program::add(Call call, std::vector<uintptr_t> addresses) {
    steps_.push_back({std::move(call), std::move(addresses)});
}

void Program::start() {
    recorder = this;
}

void Program::stop() {
    recorder = nullptr;
}

void Program::shorten(size_t size) {
    if (size < steps_.size()) steps_.resize(size);
}

const std::vector<uintptr_t>& Program::addresses(size_t step) const {
    return steps_.at(step).addresses;
}

void Program::watch(uintptr_t data, int64_t bytes) {
    watched_.push_back({data, bytes, checksum(address(data), bytes)});
}

bool Program::unchanged() const {
    for (const Watched& each : watched_) {
        if (checksum(address(each.data), each.bytes) != each.sum) return false;
    }
    return true;
}

void Program::run(size_t begin, size_t end) const {
    genfuse_message message{};
    genfuse_status status = GENFUSE_OK;
    {
        py::gil_scoped_release released;
        for (size_t i = begin; i < end && i < steps_.size() && status == GENFUSE_OK; ++i) {
            status = steps_[i].call(&message);
        }
    }
    raise_unless_ok(status, message);
}

void bind_program(py::module_& module) {
    module.def("copy_rows", &copy_rows, py::arg("to"), py::arg("pitch"), py::arg("source"), py::arg("rows"),
               py::arg("bytes"), "Dense rows of some bytes to rows that lie `pitch` bytes apart.");
    py::class_<Program>(module, "Program")
        .def(py::init<>())
        .def("__len__", &Program::size)
        .def("start", &Program::start, "Record what this thread calls from now on.")
        .def("stop", &Program::stop)
        .def("shorten", &Program::shorten, py::arg("size"), "Forget the calls from this one on.")
        .def("addresses", &Program::addresses, py::arg("step"), "All memory that a call reads or writes.")
        .def("watch", &Program::watch, py::arg("data"), py::arg("bytes"),
             "Remember the checksum of this memory.")
        .def("unchanged", &Program::unchanged, "Whether all watched memory has its checksum.")
        .def("run", &Program::run, py::arg("begin"), py::arg("end"), "Make calls [begin, end) again.");
}

}  // namespace genfuse
