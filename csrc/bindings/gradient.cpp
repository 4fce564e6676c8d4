// The gradients of conv_norm_act's parts, and tangents.
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "conv_norm_act/prologue_gradient_params.h"
#include "leaky_relu_tangent/params.h"
#include "norm_direction/params.h"
#include "norm_tangent/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

void prologue_gradient(int32_t dtype, int32_t threads, int64_t batch, int64_t height, int64_t width,
                       const py::object& x, const py::object& skip, const genfuse_prologue& prologue,
                       bool through_stats, const py::object& gradient, const py::object& x_gradient,
                       const py::object& skip_gradient, const py::object& x_added,
                       const py::object& skip_added, uintptr_t norm_weight, uintptr_t norm_bias,
                       uintptr_t film_scale, uintptr_t film_shift, uintptr_t stats) {
    genfuse_prologue_gradient_args args{};
    args.dtype = dtype;
    args.threads = threads;
    args.batch = batch;
    args.height = height;
    args.width = width;
    args.x = image_from(x);
    args.skip = image_from(skip);
    args.prologue = prologue;
    args.through_stats = through_stats;
    args.gradient = image_from(gradient);
    args.x_gradient = image_from(x_gradient);
    args.skip_gradient = image_from(skip_gradient);
    args.x_added = image_from(x_added);
    args.skip_added = image_from(skip_added);
    args.weight_gradient = floats(norm_weight);
    args.bias_gradient = floats(norm_bias);
    args.film_scale_gradient = floats(film_scale);
    args.film_shift_gradient = floats(film_shift);
    args.stats_gradient = floats(stats);
    call_released(genfuse_prologue_gradient, &args);
}

void leaky_relu_tangent(int32_t dtype, int64_t count, uintptr_t tangent, uintptr_t mask, float negative_slope,
                        float positive_slope, uintptr_t out, int32_t threads) {
    const genfuse_leaky_relu_tangent_args args{
        dtype,          count,          address(tangent), static_cast<const uint8_t*>(address(mask)),
        negative_slope, positive_slope, address(out),     threads};
    call_released(genfuse_leaky_relu_tangent, &args);
}

void norm_direction(int32_t dtype, int64_t batch, int64_t values, uintptr_t x, uintptr_t norms,
                    uintptr_t direction, int32_t threads) {
    const genfuse_norm_direction_args args{
        dtype, batch, values, address(x), floats(norms), floats(direction), threads};
    call_released(genfuse_norm_direction, &args);
}

void norm_tangent(std::pair<int64_t, int64_t> size, std::pair<int64_t, int64_t> weight_size, uintptr_t x,
                  uintptr_t tangent, uintptr_t weight, double eps, uintptr_t out, uintptr_t gradient,
                  uintptr_t x_gradient, uintptr_t tangent_gradient, uintptr_t weight_gradient,
                  int32_t threads) {
    genfuse_norm_tangent_args args{};
    args.rows = size.first, args.columns = size.second;
    args.weight_rows = weight_size.first, args.weight_columns = weight_size.second;
    args.x = floats(x);
    args.tangent = floats(tangent);
    args.weight = floats(weight);
    args.eps = eps;
    args.out = floats(out);
    args.gradient = floats(gradient);
    args.x_gradient = floats(x_gradient);
    args.tangent_gradient = floats(tangent_gradient);
    args.weight_gradient = floats(weight_gradient);
    args.threads = threads;
    call_released(genfuse_norm_tangent, &args);
}

}  // namespace

void bind_gradient(py::module_& module) {
    module.def("prologue_gradient", &prologue_gradient, py::arg("dtype"), py::arg("threads"),
               py::arg("batch"), py::arg("height"), py::arg("width"), py::arg("x"), py::arg("skip"),
               py::arg("prologue"), py::arg("through_stats"), py::arg("gradient"), py::arg("x_gradient"),
               py::arg("skip_gradient"), py::arg("x_added") = py::none(), py::arg("skip_added") = py::none(),
               py::arg("norm_weight") = 0, py::arg("norm_bias") = 0, py::arg("film_scale") = 0,
               py::arg("film_shift") = 0, py::arg("stats") = 0);
    module.def("leaky_relu_tangent", &leaky_relu_tangent, py::arg("dtype"), py::arg("count"),
               py::arg("tangent"), py::arg("mask"), py::arg("negative_slope"), py::arg("positive_slope"),
               py::arg("out"), py::arg("threads"));
    module.def("norm_direction", &norm_direction, py::arg("dtype"), py::arg("batch"), py::arg("values"),
               py::arg("x"), py::arg("norms"), py::arg("direction"), py::arg("threads"));
    module.def("norm_tangent", &norm_tangent, py::arg("size"), py::arg("weight_size"), py::arg("x"),
               py::arg("tangent"), py::arg("weight"), py::arg("eps"), py::arg("out") = 0,
               py::arg("gradient") = 0, py::arg("x_gradient") = 0, py::arg("tangent_gradient") = 0,
               py::arg("weight_gradient") = 0, py::arg("threads") = 1);
}

}  // namespace genfuse
