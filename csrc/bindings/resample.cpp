// upfirdn2d.
#include "bindings/bindings.h"
#include "upfirdn2d/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

using Pair = std::pair<int64_t, int64_t>;  // (x, y), or (height, width)

void upfirdn2d(int32_t dtype, int32_t threads, bool channels_last, int64_t batch, int64_t channels,
               const Pair& size, const Pair& out_size, uintptr_t x, uintptr_t out, uintptr_t filter,
               const Pair& filter_size, bool separable, const Pair& up, const Pair& down,
               const Pair& padding) {
    genfuse_upfirdn2d_args args{};
    args.dtype = dtype;
    args.threads = threads;
    args.channels_last = channels_last;
    args.separable = separable;
    args.batch = batch;
    args.channels = channels;
    std::tie(args.height, args.width) = size;
    std::tie(args.out_height, args.out_width) = out_size;
    args.x = address(x);
    args.out = address(out);
    args.filter = static_cast<const double*>(address(filter));
    std::tie(args.filter_height, args.filter_width) = filter_size;
    std::tie(args.up_x, args.up_y) = up;
    std::tie(args.down_x, args.down_y) = down;
    std::tie(args.pad_x, args.pad_y) = padding;
    run_recorded(genfuse_upfirdn2d, args);
}

}  // namespace

void bind_resample(py::module_& module) {
    module.def("upfirdn2d", &upfirdn2d, py::arg("dtype"), py::arg("threads"), py::arg("channels_last"),
               py::arg("batch"), py::arg("channels"), py::arg("size"), py::arg("out_size"), py::arg("x"),
               py::arg("out"), py::arg("filter"), py::arg("filter_size"), py::arg("separable"), py::arg("up"),
               py::arg("down"), py::arg("padding"));
}

}  // namespace genfuse
