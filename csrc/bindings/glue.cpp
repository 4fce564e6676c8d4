// What stands between two kernels of a plan, where it is small: copies to another layout and a few functions
// of each element, on one thread. PyTorch's own call costs more than they do, since it finds its code and
// data driven from the caches by the kernels before it.
#include <pybind11/stl.h>

#include <cmath>
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

constexpr int kAxes = 6;
constexpr int kOperands = 3;  // the result, and what it is made of

// Elements of up to three tensors side by side: strides in bytes, 0 where one is repeated.
struct Walk {
    int axes = 0;
    int64_t size[kAxes];
    int64_t stride[kOperands][kAxes];

    // run(offsets, count, strides) for each row along the last axis.
    template <class Run>
    void rows(Run run) const {
        const int last = axes - 1;
        int64_t place[kAxes] = {}, offset[kOperands] = {};
        for (int axis = 0; axis < axes; ++axis) {
            if (size[axis] == 0) return;
        }
        while (true) {
            run(offset);
            int axis = last - 1;
            for (; axis >= 0; --axis) {
                for (int i = 0; i < kOperands; ++i) offset[i] += stride[i][axis];
                if (++place[axis] < size[axis]) break;
                for (int i = 0; i < kOperands; ++i) offset[i] -= size[axis] * stride[i][axis];
                place[axis] = 0;
            }
            if (axis < 0) return;
        }
    }

    int64_t count() const { return size[axes - 1]; }
    int64_t step(int operand) const { return stride[operand][axes - 1]; }
};

// An address and strides in bytes.
using Strided = std::pair<uintptr_t, std::vector<int64_t>>;

Walk walk_of(const std::vector<int64_t>& sizes, std::initializer_list<const Strided*> operands) {
    Walk walk{};
    if (sizes.empty() || sizes.size() > kAxes) throw std::invalid_argument("expected 1 to 6 axes");
    walk.axes = static_cast<int>(sizes.size());
    for (int axis = 0; axis < walk.axes; ++axis) walk.size[axis] = sizes[static_cast<size_t>(axis)];
    int i = 0;
    for (const Strided* operand : operands) {
        if (operand->first && operand->second.size() != sizes.size())
            throw std::invalid_argument("expected as many strides as sizes");
        for (int axis = 0; axis < walk.axes; ++axis)
            walk.stride[i][axis] = operand->first ? operand->second[static_cast<size_t>(axis)] : 0;
        ++i;
    }
    return walk;
}

struct Copy {
    Walk walk;
    int64_t item;  // bytes
    char* to;
    const char* from;
};

template <class Item>
void copy_row(char* to, int64_t to_step, const char* from, int64_t from_step, int64_t count) {
    for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * to_step, from + i * from_step, sizeof(Item));
}

genfuse_status copy(const Copy* args, genfuse_message*) {
    const Walk& walk = args->walk;
    const int64_t count = walk.count(), to_step = walk.step(0), from_step = walk.step(1);
    walk.rows([&](const int64_t* offset) {
        char* const to = args->to + offset[0];
        const char* const from = args->from + offset[1];
        if (to_step == args->item && from_step == args->item) {
            std::memcpy(to, from, static_cast<size_t>(count * args->item));
        } else if (args->item == 2) {
            copy_row<uint16_t>(to, to_step, from, from_step, count);
        } else if (args->item == 4) {
            copy_row<uint32_t>(to, to_step, from, from_step, count);
        } else {
            for (int64_t i = 0; i < count; ++i)
                std::memcpy(to + i * to_step, from + i * from_step, static_cast<size_t>(args->item));
        }
    });
    return GENFUSE_OK;
}

enum class Function { multiply, add, subtract, sine, cosine, from_int64, multiply_int64 };

struct Elementwise {
    Walk walk;
    Function function;
    char* to;
    const char* a;
    const char* b;  // NULL: `number` in its place
    float number;
};

template <class T>
T at(const char* place) {
    T value;
    std::memcpy(&value, place, sizeof value);
    return value;
}

float result(Function function, const char* a, float b) {
    switch (function) {
        case Function::multiply:
            return at<float>(a) * b;
        case Function::add:
            return at<float>(a) + b;
        case Function::subtract:
            return at<float>(a) - b;
        case Function::sine:  // rounded once
            return static_cast<float>(std::sin(static_cast<double>(at<float>(a))));
        case Function::cosine:
            return static_cast<float>(std::cos(static_cast<double>(at<float>(a))));
        default:
            return static_cast<float>(at<int64_t>(a));
    }
}

genfuse_status elementwise(const Elementwise* args, genfuse_message*) {
    const Walk& walk = args->walk;
    walk.rows([&](const int64_t* offset) {
        for (int64_t i = 0; i < walk.count(); ++i) {
            char* const to = args->to + offset[0] + i * walk.step(0);
            const char* const a = args->a + offset[1] + i * walk.step(1);
            const char* const b = args->b + offset[2] + i * walk.step(2);
            if (args->function == Function::multiply_int64) {  // wraps around, as PyTorch's
                const uint64_t product = at<uint64_t>(a) * at<uint64_t>(b);
                std::memcpy(to, &product, sizeof product);
            } else {
                const float value = result(args->function, a, args->b ? at<float>(b) : args->number);
                std::memcpy(to, &value, sizeof value);
            }
        }
    });
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

void call_copy(const std::vector<int64_t>& sizes, int64_t item, const Strided& to, const Strided& source) {
    const Strided absent{};
    const Copy args{walk_of(sizes, {&to, &source, &absent}), item, static_cast<char*>(address(to.first)),
                    static_cast<const char*>(address(source.first))};
    run_recorded(copy, args, {args.to, args.from});
}

void call_elementwise(const std::string& name, const std::vector<int64_t>& sizes, const Strided& to,
                      const Strided& a, const Strided& b, float number) {
    static const char* const names[] = {"mul", "add", "sub", "sin", "cos", "from_int64", "mul_int64"};
    size_t function = 0;
    while (function < std::size(names) && name != names[function]) ++function;
    if (function == std::size(names))
        throw std::invalid_argument("function is '" + name + "', which is none");
    if (static_cast<Function>(function) == Function::multiply_int64 && !b.first)
        throw std::invalid_argument("b is absent, expected integers");
    const Elementwise args{walk_of(sizes, {&to, &a, &b}),
                           static_cast<Function>(function),
                           static_cast<char*>(address(to.first)),
                           static_cast<const char*>(address(a.first)),
                           static_cast<const char*>(address(b.first)),
                           number};
    run_recorded(elementwise, args, {args.to, args.a, args.b});
}

void call_widen(int32_t dtype, uintptr_t from, int64_t count, uintptr_t to) {
    if (dtype != GENFUSE_FLOAT16 && dtype != GENFUSE_BFLOAT16) {
        throw std::invalid_argument("dtype is code " + std::to_string(dtype) +
                                    ", expected bfloat16 or float16");
    }
    const Widen args{dtype, address(from), count, static_cast<float*>(address(to))};
    run_recorded(widen, args, {args.from, args.to});
}

}  // namespace

void bind_glue(py::module_& module) {
    module.def("widen", &call_widen, py::arg("dtype"), py::arg("source"), py::arg("count"), py::arg("to"),
               "Dense bfloat16 or float16 to float32.");
    module.def("copy", &call_copy, py::arg("sizes"), py::arg("item"), py::arg("to"), py::arg("source"),
               "Elements of `item` bytes; `to` and `source` are an address and strides in bytes.");
    module.def(
        "elementwise", &call_elementwise, py::arg("function"), py::arg("sizes"), py::arg("to"), py::arg("a"),
        py::arg("b"), py::arg("number"),
        "Of float32 (int64 for from_int64): (address, strides in bytes) each; b may be at 0, then it is "
        "`number`.");
}

}  // namespace genfuse
