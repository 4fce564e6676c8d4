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

struct Widen {
    int32_t dtype;
    const uint16_t* from;
    int64_t count;
    float* to;
};

float of_float16(uint16_t half) {
    const uint32_t magnitude = half & 0x7FFFu;
    const uint32_t bits =
        magnitude >= 0x7C00u ? (magnitude << 13) + (112u << 23) + (112u << 23) : magnitude << 13;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (magnitude < 0x7C00u) value *= 0x1p112f;  // moves the exponent's bias, subnormals too
    return half & 0x8000u ? -value : value;
}

genfuse_status widen(const Widen* args, genfuse_message*) {
    for (int64_t i = 0; i < args->count; ++i) {
        if (args->dtype == GENFUSE_FLOAT16) {
            args->to[i] = of_float16(args->from[i]);
        } else {
            const uint32_t bits = static_cast<uint32_t>(args->from[i]) << 16;
            std::memcpy(args->to + i, &bits, sizeof bits);
        }
    }
    return GENFUSE_OK;
}

void widen_all(int32_t dtype, uintptr_t from, int64_t count, uintptr_t to) {
    if (dtype != GENFUSE_FLOAT16 && dtype != GENFUSE_BFLOAT16) {
        throw std::invalid_argument("dtype is code " + std::to_string(dtype) +
                                    ", expected bfloat16 or float16");
    }
    const Widen args{dtype, static_cast<const uint16_t*>(address(from)), count,
                     static_cast<float*>(address(to))};
    run_recorded(widen, args, {args.from, args.to});
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
    module.def("widen", &widen_all, py::arg("dtype"), py::arg("source"), py::arg("count"), py::arg("to"),
               "Dense bfloat16 or float16 to float32.");
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
