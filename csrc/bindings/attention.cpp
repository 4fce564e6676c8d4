// attention and timestep_embedding.
#include "attention/params.h"
#include "bindings/bindings.h"
#include "timestep_embedding/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

// (address, strides of sample, head, token and channel).
genfuse_heads heads_from(const py::tuple& given) {
    const auto stride = given[1].cast<py::tuple>();
    return {address(given[0].cast<uintptr_t>()), stride[0].cast<int64_t>(), stride[1].cast<int64_t>(),
            stride[2].cast<int64_t>(), stride[3].cast<int64_t>()};
}

void attention(int32_t dtype, const py::tuple& sizes, float scale, const py::tuple& q, const py::tuple& k,
               const py::tuple& v, const py::tuple& out, int32_t threads) {
    genfuse_attention_args args{};
    args.dtype = dtype;
    args.threads = threads;
    args.batch = sizes[0].cast<int64_t>();
    args.heads = sizes[1].cast<int64_t>();
    args.queries = sizes[2].cast<int64_t>();
    args.keys = sizes[3].cast<int64_t>();
    args.channels = sizes[4].cast<int64_t>();
    args.value_channels = sizes[5].cast<int64_t>();
    args.scale = scale;
    args.q = heads_from(q);
    args.k = heads_from(k);
    args.v = heads_from(v);
    args.out = heads_from(out);
    run_recorded(genfuse_attention, args);
}

void timestep_embedding(uintptr_t t, bool t_is_double, int64_t batch, int64_t channels, bool flip_sin_to_cos,
                        double downscale_freq_shift, double scale, double max_period, uintptr_t out,
                        bool is_double) {
    genfuse_timestep_embedding_args args{};
    args.t = address(t);
    args.t_dtype = t_is_double ? GENFUSE_FLOAT64 : GENFUSE_FLOAT32;
    args.batch = batch;
    args.channels = channels;
    args.flip_sin_to_cos = flip_sin_to_cos;
    args.downscale_freq_shift = downscale_freq_shift;
    args.scale = scale;
    args.max_period = max_period;
    args.out = address(out);
    args.dtype = is_double ? GENFUSE_FLOAT64 : GENFUSE_FLOAT32;
    run_recorded(genfuse_timestep_embedding, args);
}

}  // namespace

void bind_attention(py::module_& module) {
    module.def("attention", &attention, py::arg("dtype"), py::arg("sizes"), py::arg("scale"), py::arg("q"),
               py::arg("k"), py::arg("v"), py::arg("out"), py::arg("threads"));
    module.def("timestep_embedding", &timestep_embedding, py::arg("t"), py::arg("t_is_double"),
               py::arg("batch"), py::arg("channels"), py::arg("flip_sin_to_cos"),
               py::arg("downscale_freq_shift"), py::arg("scale"), py::arg("max_period"), py::arg("out"),
               py::arg("is_double"));
}

}  // namespace genfuse
