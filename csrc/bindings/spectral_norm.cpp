// spectral_norm and its gradient: lists of layers.
#include "bindings/bindings.h"
#include "spectral_norm/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

// (dtype, outer, rows, inner), as both structs begin, and what follows.
template <class Layer>
Layer layer_from(const py::tuple& given) {
    Layer layer{};
    layer.dtype = given[0].cast<int32_t>();
    layer.outer = given[1].cast<int64_t>();
    layer.rows = given[2].cast<int64_t>();
    layer.inner = given[3].cast<int64_t>();
    return layer;
}

void* address_in(const py::tuple& given, size_t place) {
    return address(given[place].cast<uintptr_t>());
}

void spectral_norm(const py::list& given, int32_t steps, double eps, uintptr_t sigmas, int32_t threads) {
    std::vector<genfuse_spectral_layer> layers;
    for (const py::handle each : given) {
        const auto row = each.cast<py::tuple>();
        auto layer = layer_from<genfuse_spectral_layer>(row);
        layer.weight = address_in(row, 4);
        layer.u = address_in(row, 5);
        layer.v = address_in(row, 6);
        layer.vectors = static_cast<float*>(address_in(row, 7));
        layer.normalised = address_in(row, 8);
        layers.push_back(layer);
    }
    const genfuse_spectral_norm_args args{
        layers.data(), static_cast<int64_t>(layers.size()), steps, eps, threads, floats(sigmas)};
    call_released(genfuse_spectral_norm, &args);
}

void spectral_norm_gradient(const py::list& given, int32_t threads) {
    std::vector<genfuse_spectral_gradient> layers;
    for (const py::handle each : given) {
        const auto row = each.cast<py::tuple>();
        auto layer = layer_from<genfuse_spectral_gradient>(row);
        layer.gradient = address_in(row, 4);
        layer.normalised = address_in(row, 5);
        layer.vectors = static_cast<const float*>(address_in(row, 6));
        layer.sigma = row[7].cast<float>();
        layer.out = address_in(row, 8);
        layers.push_back(layer);
    }
    const genfuse_spectral_norm_gradient_args args{layers.data(), static_cast<int64_t>(layers.size()),
                                                   threads};
    call_released(genfuse_spectral_norm_gradient, &args);
}

}  // namespace

void bind_spectral_norm(py::module_& module) {
    module.def("spectral_norm", &spectral_norm, py::arg("layers"), py::arg("steps"), py::arg("eps"),
               py::arg("sigmas"), py::arg("threads"),
               "layers: (dtype, outer, rows, inner, weight, u, v, vectors, normalised).");
    module.def("spectral_norm_gradient", &spectral_norm_gradient, py::arg("layers"), py::arg("threads"),
               "layers: (dtype, outer, rows, inner, gradient, normalised, vectors, sigma, out).");
}

}  // namespace genfuse
