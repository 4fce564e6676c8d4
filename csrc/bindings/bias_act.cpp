// bias_act.
#include "bias_act/params.h"
#include "bindings/bindings.h"

namespace py = pybind11;

namespace genfuse {
namespace {

using Sizes = std::tuple<int64_t, int64_t, int64_t>;  // samples, channels, pixels

double* doubles(uintptr_t pointer) {
    return static_cast<double*>(address(pointer));
}

void bias_act(int32_t dtype, int32_t threads, bool channels_last, const Sizes& sizes, int32_t activation,
              float slope, float gain, float clamp, uintptr_t x, uintptr_t out, uintptr_t bias,
              uintptr_t scale, uintptr_t noise, int64_t noise_stride, uintptr_t gradient, bool of_result,
              bool before_scale, uintptr_t bias_sums, uintptr_t scale_sums) {
    genfuse_bias_act_args args{};
    args.dtype = dtype;
    args.threads = threads;
    args.channels_last = channels_last;
    args.activation = activation;
    std::tie(args.samples, args.channels, args.pixels) = sizes;
    args.x = address(x);
    args.gradient = address(gradient);
    args.out = address(out);
    args.bias = floats(bias);
    args.scale = floats(scale);
    args.noise = floats(noise);
    args.noise_stride = noise_stride;
    args.of_result = of_result;
    args.before_scale = before_scale;
    args.slope = slope;
    args.gain = gain;
    args.clamp = clamp;
    args.bias_sums = doubles(bias_sums);
    args.scale_sums = doubles(scale_sums);
    run_recorded(genfuse_bias_act, args);
}

}  // namespace

void bind_bias_act(py::module_& module) {
    module.def("bias_act", &bias_act, py::arg("dtype"), py::arg("threads"), py::arg("channels_last"),
               py::arg("sizes"), py::arg("activation"), py::arg("slope"), py::arg("gain"), py::arg("clamp"),
               py::arg("x"), py::arg("out"), py::arg("bias"), py::arg("scale"), py::arg("noise"),
               py::arg("noise_stride"), py::arg("gradient") = 0, py::arg("of_result") = false,
               py::arg("before_scale") = false, py::arg("bias_sums") = 0, py::arg("scale_sums") = 0);
    module.def("bias_act_blocks", &genfuse_bias_act_blocks, py::arg("pixels"));
}

}  // namespace genfuse
