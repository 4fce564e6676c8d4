// Calls of kernels that were made once, to be made again with the same addresses.
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "common/checksum.h"

namespace py = pybind11;

namespace genfuse {
namespace {

thread_local Program* recorder = nullptr;

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
    module.def("recording", &recording, py::return_value_policy::reference,
               "The program that records what this thread calls, or None.");
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
