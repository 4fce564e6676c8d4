// Steps of one trajectory, with everything that does not change between steps settled beforehand.
#include <cstring>
#include <vector>

#include "bindings/bindings.h"
#include "sampler_step/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

// All tensors have the same shape and strides; pointers are addresses, 0 where absent. The table is copied.
class Plan {
  public:
    Plan(uintptr_t table, int64_t rows, int dtype, const py::tuple& sizes, const py::tuple& strides,
         int threads) {
        if (rows < 0)
            throw std::invalid_argument("rows is negative, expected the number of rows of the table");
        table_.resize(static_cast<size_t>(rows) * GENFUSE_ROW);
        if (rows > 0) std::memcpy(table_.data(), address(table), table_.size() * sizeof(double));
        args_.shape = shape_from(dtype, sizes);
        if (static_cast<int>(strides.size()) != args_.shape.axes) {
            throw std::invalid_argument("strides has " + std::to_string(strides.size()) +
                                        " values, expected one an axis");
        }
        genfuse_tensor any{};
        for (int axis = 0; axis < args_.shape.axes; ++axis) {
            any.stride[axis] = PyLong_AsLongLong(PyTuple_GET_ITEM(strides.ptr(), axis));
        }
        for (genfuse_tensor* tensor : {&args_.out, &args_.stored, &args_.x, &args_.model_output,
                                       &args_.uncond, &args_.variance, &args_.noise, &args_.noise_prev}) {
            *tensor = any;
        }
        for (genfuse_tensor& slot : args_.history) slot = any;
        args_.table = table_.data();
        args_.rows = rows;
        args_.threads = threads;
    }

    Plan(const Plan&) = delete;

    // `slots` tensors like x, `slot_stride` elements apart.
    void set_history(uintptr_t data, int slots, int64_t slot_stride) {
        if (slots < 0 || slots > GENFUSE_HISTORY_SLOTS) {
            throw std::invalid_argument("history has " + std::to_string(slots) + " slots, expected at most " +
                                        std::to_string(GENFUSE_HISTORY_SLOTS));
        }
        static const int64_t bytes[] = {4, 8, 2, 2};
        args_.history_slots = data ? slots : 0;
        for (int slot = 0; slot < slots; ++slot) {
            const int64_t offset = slot * slot_stride * bytes[args_.shape.dtype];
            args_.history[slot].data = data ? static_cast<char*>(address(data)) + offset : nullptr;
        }
    }

    void set_seeds(uintptr_t seeds, uint32_t stream) {
        args_.seeds = static_cast<const int64_t*>(address(seeds));
        args_.stream = stream;
    }

    void set_threads(int threads) { args_.threads = threads; }

    void step(int64_t row, uintptr_t x, uintptr_t model_output, uintptr_t out, uintptr_t uncond,
              uintptr_t variance, uintptr_t noise, uintptr_t noise_prev, uintptr_t scales) const {
        genfuse_sampler_step_args args = args_;  // a plan may be stepped from several threads
        args.row = row;
        args.x.data = address(x);
        args.model_output.data = address(model_output);
        args.out.data = address(out);
        args.uncond.data = address(uncond);
        args.variance.data = address(variance);
        args.noise.data = address(noise);
        args.noise_prev.data = address(noise_prev);
        args.scales = address(scales);
        call(genfuse_sampler_step, args);
    }

  private:
    std::vector<double> table_;
    genfuse_sampler_step_args args_{};
};

}  // namespace

void bind_plan(py::module_& module) {
    py::class_<Plan>(module, "Plan")
        .def(py::init<uintptr_t, int64_t, int, const py::tuple&, const py::tuple&, int>(), py::arg("table"),
             py::arg("rows"), py::arg("dtype"), py::arg("sizes"), py::arg("strides"), py::arg("threads"))
        .def("set_history", &Plan::set_history, py::arg("data"), py::arg("slots"), py::arg("slot_stride"))
        .def("set_seeds", &Plan::set_seeds, py::arg("seeds"), py::arg("stream") = 0)
        .def("set_threads", &Plan::set_threads, py::arg("threads"))
        .def("step", &Plan::step, py::arg("row"), py::arg("x"), py::arg("model_output"), py::arg("out"),
             py::arg("uncond") = 0, py::arg("variance") = 0, py::arg("noise") = 0, py::arg("noise_prev") = 0,
             py::arg("scales") = 0);
}

}  // namespace genfuse
