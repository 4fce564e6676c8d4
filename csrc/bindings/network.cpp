// Exported networks, run without PyTorch: what the C interface does, for tests and for Python.
#include "network/network.h"

#include <pybind11/stl.h>

#include "bindings/bindings.h"

namespace py = pybind11;

namespace genfuse {
namespace {

using Form = std::tuple<std::string, int32_t, std::vector<int64_t>>;  // name, dtype code, shape

std::vector<Form> forms(const std::vector<Port>& ports) {
    std::vector<Form> all;
    for (const Port& port : ports) all.emplace_back(port.name, port.dtype, port.shape);
    return all;
}

const Signature& signature_of(const Network& network, size_t number) {
    if (number >= network.signatures().size()) throw std::invalid_argument("no such signature");
    return network.signatures()[number];
}

void run(const Network& network, size_t number, const std::vector<std::pair<uintptr_t, size_t>>& inputs,
         const std::vector<std::pair<uintptr_t, size_t>>& outputs, int32_t threads) {
    const Signature& signature = signature_of(network, number);
    if (inputs.size() != signature.inputs.size() || outputs.size() != signature.outputs.size())
        throw std::invalid_argument("expected a buffer for each input and output");
    std::vector<Buffer> from, to;
    for (const auto& [data, bytes] : inputs) from.push_back({address(data), bytes});
    for (const auto& [data, bytes] : outputs) to.push_back({address(data), bytes});
    py::gil_scoped_release released;
    network.run(number, from.data(), to.data(), threads);
}

}  // namespace

void bind_network(py::module_& module) {
    py::register_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const Refused& why) {
            PyErr_SetString(PyExc_ValueError, why.what());
        }
    });
    py::class_<Network>(module, "Network")
        .def(py::init<const char*, int32_t>(), py::arg("path"), py::arg("threads") = 1,
             py::call_guard<py::gil_scoped_release>())
        .def("__len__", [](const Network& network) { return network.signatures().size(); })
        .def(
            "inputs", [](const Network& network, size_t n) { return forms(signature_of(network, n).inputs); },
            py::arg("signature") = 0)
        .def(
            "outputs",
            [](const Network& network, size_t n) { return forms(signature_of(network, n).outputs); },
            py::arg("signature") = 0)
        .def("run", &run, py::arg("signature"), py::arg("inputs"), py::arg("outputs"), py::arg("threads"),
             "From and to (address, bytes) of contiguous buffers.");
}

}  // namespace genfuse
