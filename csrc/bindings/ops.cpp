// One function an op, for tensors of any strides.
#include <vector>

#include "bindings/bindings.h"
#include "philox_lerp/params.h"
#include "philox_normal/params.h"
#include "sampler_reduce/params.h"
#include "sampler_step/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

void sampler_step(int dtype, const py::tuple& sizes, const py::object& out, const py::object& stored,
                  const py::object& x, const py::object& model_output, const py::object& uncond,
                  const py::object& variance, const py::object& noise, const py::object& noise_prev,
                  const py::tuple& history, uintptr_t table, int64_t rows, int64_t row, uintptr_t index,
                  uintptr_t seeds, uint32_t stream, uintptr_t scales, int threads) {
    genfuse_sampler_step_args args{};
    args.shape = shape_from(dtype, sizes);
    const int axes = args.shape.axes;
    args.out = tensor_from(out, axes);
    args.stored = tensor_from(stored, axes);
    args.x = tensor_from(x, axes);
    args.model_output = tensor_from(model_output, axes);
    args.uncond = tensor_from(uncond, axes);
    args.variance = tensor_from(variance, axes);
    args.noise = tensor_from(noise, axes);
    args.noise_prev = tensor_from(noise_prev, axes);
    if (history.size() > GENFUSE_HISTORY_SLOTS) {
        throw std::invalid_argument("history has " + std::to_string(history.size()) +
                                    " slots, expected at most " + std::to_string(GENFUSE_HISTORY_SLOTS));
    }
    args.history_slots = static_cast<int32_t>(history.size());
    for (size_t slot = 0; slot < history.size(); ++slot)
        args.history[slot] = tensor_from(history[slot], axes);
    args.table = static_cast<const double*>(address(table));
    args.rows = rows;
    args.row = row;
    args.index = static_cast<const int64_t*>(address(index));
    args.seeds = static_cast<const int64_t*>(address(seeds));
    args.stream = stream;
    args.scales = address(scales);
    args.threads = threads;
    call(genfuse_sampler_step, args);
}

void sampler_reduce(int dtype, const py::tuple& sizes, const py::object& x, const py::object& model_output,
                    const py::object& uncond, uintptr_t table, int64_t rows, int64_t row, uintptr_t index,
                    uintptr_t scales, int threads) {
    genfuse_sampler_reduce_args args{};
    args.shape = shape_from(dtype, sizes);
    const int axes = args.shape.axes;
    args.x = tensor_from(x, axes);
    args.model_output = tensor_from(model_output, axes);
    args.uncond = tensor_from(uncond, axes);
    args.table = static_cast<const double*>(address(table));
    args.rows = rows;
    args.row = row;
    args.index = static_cast<const int64_t*>(address(index));
    args.scales = address(scales);
    args.threads = threads;
    call(genfuse_sampler_reduce, args);
}

void philox_lerp(int dtype, const py::tuple& sizes, const py::object& out, const py::object& start,
                 const py::object& end, int64_t seed, int64_t first, int threads) {
    genfuse_philox_lerp_args args{};
    args.shape = shape_from(dtype, sizes);
    args.out = tensor_from(out, args.shape.axes);
    args.start = tensor_from(start, args.shape.axes);
    args.end = tensor_from(end, args.shape.axes);
    args.seed = seed;
    args.first = first;
    args.threads = threads;
    call(genfuse_philox_lerp, args);
}

void philox_normal(int dtype, const py::tuple& sizes, const py::object& out, uintptr_t seeds, uintptr_t rows,
                   int64_t row, uint32_t stream, int threads) {
    genfuse_philox_normal_args args{};
    args.shape = shape_from(dtype, sizes);
    args.out = tensor_from(out, args.shape.axes);
    args.seeds = static_cast<const int64_t*>(address(seeds));
    args.rows = static_cast<const int64_t*>(address(rows));
    args.row = row;
    args.stream = stream;
    args.threads = threads;
    call(genfuse_philox_normal, args);
}

py::list philox_words(int64_t blocks, int64_t first_block, int64_t seed, uint32_t row, uint32_t stream) {
    std::vector<uint32_t> words(static_cast<size_t>(4 * blocks));
    genfuse_philox_words(words.data(), blocks, first_block, seed, row, stream);
    py::list list;
    for (const uint32_t word : words) list.append(word);
    return list;
}

}  // namespace

void bind_ops(py::module_& module) {
    module.def("sampler_step", &sampler_step, py::arg("dtype"), py::arg("sizes"), py::arg("out"),
               py::arg("stored"), py::arg("x"), py::arg("model_output"), py::arg("uncond"),
               py::arg("variance"), py::arg("noise"), py::arg("noise_prev"), py::arg("history"),
               py::arg("table"), py::arg("rows"), py::arg("row"), py::arg("index"), py::arg("seeds"),
               py::arg("stream"), py::arg("scales"), py::arg("threads"));
    module.def("sampler_reduce", &sampler_reduce, py::arg("dtype"), py::arg("sizes"), py::arg("x"),
               py::arg("model_output"), py::arg("uncond"), py::arg("table"), py::arg("rows"), py::arg("row"),
               py::arg("index"), py::arg("scales"), py::arg("threads"));
    module.def("philox_lerp", &philox_lerp, py::arg("dtype"), py::arg("sizes"), py::arg("out"),
               py::arg("start"), py::arg("end"), py::arg("seed"), py::arg("first"), py::arg("threads"));
    module.def("philox_normal", &philox_normal, py::arg("dtype"), py::arg("sizes"), py::arg("out"),
               py::arg("seeds"), py::arg("rows"), py::arg("row"), py::arg("stream"), py::arg("threads"));
    module.def("philox_words", &philox_words, py::arg("blocks"), py::arg("first_block"), py::arg("seed"),
               py::arg("row"), py::arg("stream"), "The words behind a sample's noise, for tests.");
}

}  // namespace genfuse
