// Calls of kernels that were made once, to be made again with the same addresses.
#include <pybind11/stl.h>

#include <cstring>

#include "bindings/bindings.h"
#include "common/checksum.h"

// The kernels' own conversions, for the few numbers that are converted here: no instruction set is asked for.
#define GENFUSE_ISA scalar
#define GENFUSE_VECTOR_BYTES 16
#include "common/half.h"

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
    const void* from;
    int64_t count;
    float* to;
};

genfuse_status widen(const Widen* args, genfuse_message*) {
    constexpr int64_t piece = 64;  // whole vectors are written
    scalar::with_stored(args->dtype, [args](auto stored) {
        float wide[piece];
        for (int64_t first = 0; first < args->count; first += piece) {
            const int64_t count = args->count - first < piece ? args->count - first : piece;
            scalar::widen_run(static_cast<const decltype(stored)*>(args->from) + first, count, wide);
            std::memcpy(args->to + first, wide, static_cast<size_t>(count) * sizeof(float));
        }
    });
    return GENFUSE_OK;
}

void widen_all(int32_t dtype, uintptr_t from, int64_t count, uintptr_t to) {
    if (dtype != GENFUSE_FLOAT16 && dtype != GENFUSE_BFLOAT16) {
        throw std::invalid_argument("dtype is code " + std::to_string(dtype) +
                                    ", expected bfloat16 or float16");
    }
    const Widen args{dtype, address(from), count, static_cast<float*>(address(to))};
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
