// The ops that work through lists of tensors.
#include <pybind11/stl.h>

#include <algorithm>

#include "bindings/bindings.h"
#include "bindings/exchange.h"
#include "clip_grad_norm/params.h"
#include "clip_weights/params.h"
#include "common/tensor_list.h"
#include "ema_update/params.h"

namespace py = pybind11;

namespace genfuse {
namespace {

// From columns: dtype codes, addresses, numbers of elements, and (place, sizes, strides) of what is no run.
std::vector<genfuse_listed> listed_from(const py::tuple& columns) {
    const auto dtypes = columns[0].cast<py::list>(), addresses = columns[1].cast<py::list>(),
               counts = columns[2].cast<py::list>();
    const size_t size = addresses.size();
    if (dtypes.size() != size || counts.size() != size) {
        throw std::invalid_argument("columns have different lengths, expected a row for each tensor");
    }
    std::vector<genfuse_listed> list(size);
    for (size_t i = 0; i < size; ++i) {
        const auto place = static_cast<Py_ssize_t>(i);
        genfuse_listed& listed = list[i];
        listed.shape.dtype = static_cast<int32_t>(PyLong_AsLong(PyList_GET_ITEM(dtypes.ptr(), place)));
        listed.shape.axes = 1;
        listed.shape.size[0] = PyLong_AsLongLong(PyList_GET_ITEM(counts.ptr(), place));
        listed.tensor.data = address(PyLong_AsSize_t(PyList_GET_ITEM(addresses.ptr(), place)));
        listed.tensor.stride[0] = 1;
    }
    for (const py::handle row : columns[3].cast<py::list>()) {
        const auto strided = row.cast<py::tuple>();
        genfuse_listed& listed = list.at(strided[0].cast<size_t>());
        const uintptr_t data = reinterpret_cast<uintptr_t>(listed.tensor.data);
        listed.shape = shape_from(listed.shape.dtype, strided[1].cast<py::tuple>());
        listed.tensor = tensor_from(py::make_tuple(data, strided[2]), listed.shape.axes);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return list;
}

void ema_update(const py::tuple& averages, const py::tuple& parameters, double decay, int threads) {
    const std::vector<genfuse_listed> to = listed_from(averages), from = listed_from(parameters);
    if (to.size() != from.size()) {
        throw std::invalid_argument("averages has " + std::to_string(to.size()) + " tensors, expected " +
                                    std::to_string(from.size()) + " as parameters");
    }
    const genfuse_ema_update_args args{to.data(), from.data(), static_cast<int64_t>(to.size()), decay,
                                       threads};
    call_released(genfuse_ema_update, &args);
}

void clip_weights(const py::tuple& parameters, double bound, int threads) {
    const std::vector<genfuse_listed> list = listed_from(parameters);
    const genfuse_clip_weights_args args{list.data(), static_cast<int64_t>(list.size()), bound, threads};
    call_released(genfuse_clip_weights, &args);
}

double clip_grad_norm(const py::tuple& gradients, double max_norm, bool finite, int threads) {
    const std::vector<genfuse_listed> list = listed_from(gradients);
    double norm = 0;
    const genfuse_clip_grad_norm_args args{
        list.data(), static_cast<int64_t>(list.size()), max_norm, finite, threads, &norm};
    call_released(genfuse_clip_grad_norm, &args);
    return norm;
}

// What is read directly: whether all tensors were dense, floating and on the CPU, and that many of each list.
class DirectLists {
  public:
    DirectLists(const py::capsule& exchange, std::initializer_list<const py::list*> lists) {
        const auto* api =
            static_cast<const dlpack::Exchange*>(PyCapsule_GetPointer(exchange.ptr(), dlpack::kExchangeName));
        if (!api) throw py::error_already_set();
        while (api && api->version.major != 1) api = api->older;
        usual_ = api != nullptr;
        for (const py::list* list : lists) {
            lists_.emplace_back(list->size());
            for (size_t i = 0; usual_ && i < list->size(); ++i) {
                usual_ =
                    read(*api, PyList_GET_ITEM(list->ptr(), static_cast<Py_ssize_t>(i)), lists_.back()[i]);
            }
        }
        usual_ = usual_ && all_dense() && all_apart();
    }

    // Whether our kernels take the lists as they are, and nothing has to be said of them.
    bool usual() const { return usual_; }
    const std::vector<genfuse_listed>& operator[](size_t list) const { return lists_[list]; }
    bool has_float64() const { return has_float64_; }

  private:
    std::vector<std::vector<genfuse_listed>> lists_;
    std::vector<uintptr_t> begins_, ends_;
    bool usual_, has_float64_ = false;

    bool read(const dlpack::Exchange& api, PyObject* object, genfuse_listed& listed) {
        dlpack::Tensor tensor{};
        if (api.read(object, &tensor) != 0) {
            PyErr_Clear();
            return false;
        }
        const int32_t dtype = dtype_of(tensor);
        if (dtype < 0 || tensor.device.type != dlpack::kCpu || tensor.axes >= GENFUSE_MAX_AXES) return false;
        has_float64_ = has_float64_ || dtype == GENFUSE_FLOAT64;
        listed.shape.dtype = dtype;
        listed.shape.axes = tensor.axes > 0 ? tensor.axes : 1;
        listed.shape.size[0] = listed.tensor.stride[0] = 1;  // of a scalar
        std::copy_n(tensor.sizes, tensor.axes, listed.shape.size);
        std::copy_n(tensor.strides, tensor.axes, listed.tensor.stride);
        listed.tensor.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
        const auto begin = reinterpret_cast<uintptr_t>(listed.tensor.data);
        begins_.push_back(begin);
        ends_.push_back(begin + static_cast<uintptr_t>(elements(listed.shape)) * (tensor.dtype.bits / 8u));
        return true;
    }

    static int32_t dtype_of(const dlpack::Tensor& tensor) {
        if (tensor.dtype.lanes != 1) return -1;
        if (tensor.dtype.code == dlpack::kBfloat && tensor.dtype.bits == 16) return GENFUSE_BFLOAT16;
        if (tensor.dtype.code != dlpack::kFloat) return -1;
        switch (tensor.dtype.bits) {
            case 16:
                return GENFUSE_FLOAT16;
            case 32:
                return GENFUSE_FLOAT32;
            case 64:
                return GENFUSE_FLOAT64;
            default:
                return -1;
        }
    }

    bool all_dense() const {
        for (const auto& given : lists_) {
            TensorList list;
            genfuse_message message;
            if (given.size() != lists_[0].size()) return false;
            if (list.read(given.data(), static_cast<int64_t>(given.size()), lists_[0].data(), "", &message) !=
                GENFUSE_OK) {
                return false;
            }
            for (const Listed& listed : list.tensors()) {
                if (!listed.layout.dense()) return false;
            }
        }
        return true;
    }

    // Each stretch of memory, but empty ones, ends before the next begins.
    bool all_apart() {
        std::sort(begins_.begin(), begins_.end());
        std::sort(ends_.begin(), ends_.end());
        for (size_t i = 1; i < begins_.size(); ++i) {
            if (ends_[i - 1] > begins_[i]) return false;
        }
        return true;
    }
};

bool ema_update_directly(const py::capsule& exchange, const py::list& averages, const py::list& parameters,
                         double decay, int threads) {
    const DirectLists lists(exchange, {&averages, &parameters});
    if (!lists.usual() || lists.has_float64()) return false;
    const genfuse_ema_update_args args{lists[0].data(), lists[1].data(),
                                       static_cast<int64_t>(lists[0].size()), decay, threads};
    call_released(genfuse_ema_update, &args);
    return true;
}

bool clip_weights_directly(const py::capsule& exchange, const py::list& parameters, double bound,
                           int threads) {
    const DirectLists lists(exchange, {&parameters});
    if (!lists.usual()) return false;
    const genfuse_clip_weights_args args{lists[0].data(), static_cast<int64_t>(lists[0].size()), bound,
                                         threads};
    call_released(genfuse_clip_weights, &args);
    return true;
}

std::optional<double> clip_grad_norm_directly(const py::capsule& exchange, const py::list& gradients,
                                              double max_norm, bool finite, int threads) {
    const DirectLists lists(exchange, {&gradients});
    if (!lists.usual() || lists.has_float64()) return std::nullopt;
    double norm = 0;
    const genfuse_clip_grad_norm_args args{
        lists[0].data(), static_cast<int64_t>(lists[0].size()), max_norm, finite, threads, &norm};
    call_released(genfuse_clip_grad_norm, &args);
    return norm;
}

}  // namespace

void bind_lists(py::module_& module) {
    module.def("ema_update", &ema_update, py::arg("averages"), py::arg("parameters"), py::arg("decay"),
               py::arg("threads"));
    module.def("clip_weights", &clip_weights, py::arg("parameters"), py::arg("bound"), py::arg("threads"));
    module.def("clip_grad_norm", &clip_grad_norm, py::arg("gradients"), py::arg("max_norm"),
               py::arg("finite"), py::arg("threads"),
               "The norm; gradients whose norm is not finite are scaled unless `finite`.");
    // Of lists of tensors themselves, read through `exchange`; False or None, with nothing done, where one of
    // them is not plain: dense, floating, on the CPU, of one shape with its partner and apart from all others
    // in memory.
    module.def("ema_update_directly", &ema_update_directly, py::arg("exchange"), py::arg("averages"),
               py::arg("parameters"), py::arg("decay"), py::arg("threads"));
    module.def("clip_weights_directly", &clip_weights_directly, py::arg("exchange"), py::arg("parameters"),
               py::arg("bound"), py::arg("threads"));
    module.def("clip_grad_norm_directly", &clip_grad_norm_directly, py::arg("exchange"), py::arg("gradients"),
               py::arg("max_norm"), py::arg("finite"), py::arg("threads"));
}

}  // namespace genfuse
