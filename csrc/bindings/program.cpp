// Calls of kernels that were made once, to be made again with the same addresses.
#include <pybind11/stl.h>

#include <cstring>

#include "bindings/bindings.h"
#include "common/checksum.h"

namespace py = pybind11;

namespace genfuse {
namespace {

thread_local Program* recorder = nullptr;

// The pointer at this place.
uintptr_t held(const void* place) {
    uintptr_t data;
    std::memcpy(&data, place, sizeof data);
    return data;
}

// What a call says of itself: its numbers by name, and its operands as (name, address, bytes, writes).
class Written : public Fields {
  public:
    using Fields::number;
    using Fields::real;

    void number(const char* name, int64_t& value, int64_t, int64_t) override { numbers[name] = value; }
    void real(const char* name, double& value) override { numbers[name] = py::float_(value); }
    void memory(const char* name, void* place, const Reach& reach, Access access, bool) override {
        const bool writes = access == Access::writes || access == Access::writes_in_place;
        const uintptr_t data = held(place);
        operands.append(py::make_tuple(name, data, data ? reach.bytes() : 0, writes));
    }

    py::dict numbers;
    py::list operands;
};

py::tuple described(const Program& program, size_t step) {
    Written written;
    program.describe(step, written);
    return py::make_tuple(program.name(step), written.numbers, written.operands);
}

// All memory that a call reaches.
class Reached : public Fields {
  public:
    using Fields::number;
    using Fields::real;

    void number(const char*, int64_t&, int64_t, int64_t) override {}
    void real(const char*, double&) override {}
    void memory(const char*, void* place, const Reach&, Access, bool) override {
        if (const uintptr_t data = held(place)) addresses.push_back(data);
    }

    std::vector<uintptr_t> addresses;
};

std::vector<uintptr_t> reached(const Program& program, size_t step) {
    Reached all;
    program.describe(step, all);
    return all.addresses;
}

}  // namespace

Program* recording() {
    return recorder;
}

void Program::add(const char* name, Call call, Description description) {
    steps_.push_back({name, std::move(call), std::move(description)});
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
        .def("addresses", &reached, py::arg("step"), "All memory that a call reads or writes.")
        .def("described", &described, py::arg("step"),
             "A call's name, its numbers by name, and its operands: (name, address, bytes, written).")
        .def("watch", &Program::watch, py::arg("data"), py::arg("bytes"),
             "Remember the checksum of this memory.")
        .def("unchanged", &Program::unchanged, "Whether all watched memory has its checksum.")
        .def("run", &Program::run, py::arg("begin"), py::arg("end"), "Make calls [begin, end) again.");
}

}  // namespace genfuse
