// conv_norm_act: a convolution, its packed weights, and its calls; norm_stats.
#include <tuple>
#include <utility>

#include "bindings/bindings.h"
#include "common/checksum.h"
#include "conv_norm_act/weight_gradient.h"
#include "norm_stats/params.h"

namespace py = pybind11;

namespace genfuse {

genfuse_image image_from(const py::object& given) {
    genfuse_image image{};
    if (given.is_none()) return image;
    const auto values =
        given.cast<std::tuple<uintptr_t, int32_t, int32_t, int64_t, int64_t, int64_t, int64_t>>();
    image.data = address(std::get<0>(values));
    image.layout = std::get<1>(values);
    image.channels = std::get<2>(values);
    image.stride_n = std::get<3>(values);
    image.stride_c = std::get<4>(values);
    image.stride_h = std::get<5>(values);
    image.stride_w = std::get<6>(values);
    return image;
}

namespace {

using Pair = std::pair<int32_t, int32_t>;

class Conv {
  public:
    Conv(int32_t in_channels, int32_t out_channels, int32_t groups, Pair kernel, Pair stride, Pair padding,
         Pair extra_padding, Pair dilation, Pair output_padding, bool transposed, int32_t padding_mode,
         Pair upsample, int32_t dtype, int64_t height, int64_t width, int32_t accuracy, bool plain,
         int32_t way) {
        conv_.in_channels = in_channels;
        conv_.out_channels = out_channels;
        conv_.groups = groups;
        const auto set = [](int32_t (&to)[2], const Pair& from) {
            to[0] = from.first;
            to[1] = from.second;
        };
        set(conv_.kernel, kernel);
        set(conv_.stride, stride);
        set(conv_.padding, padding);
        set(conv_.extra_padding, extra_padding);
        set(conv_.dilation, dilation);
        set(conv_.output_padding, output_padding);
        set(conv_.upsample, upsample);
        conv_.transposed = transposed;
        conv_.padding_mode = padding_mode;
        genfuse_message message{};
        int64_t out[2];
        raise_unless_ok(genfuse_conv_output(&conv_, 1 << 20, 1 << 20, out, &message), message);
        genfuse_conv ways[GENFUSE_CONV_MOST_WAYS];
        ways_ = genfuse_conv_ways(&conv_, dtype, height, width, accuracy, plain, ways);
        if (way < 0 || way >= ways_) {
            throw std::invalid_argument("way is " + std::to_string(way) + ", expected one of " +
                                        std::to_string(ways_) + ", from 0 on");
        }
        conv_ = ways[way];
        accuracy_ = accuracy;
    }

    // A unit of `channels` channels without a convolution.
    explicit Conv(int32_t channels) {
        conv_.in_channels = conv_.out_channels = channels;
        conv_.groups = 1;
        for (int axis = 0; axis < 2; ++axis)
            conv_.kernel[axis] = conv_.stride[axis] = conv_.dilation[axis] = conv_.upsample[axis] = 1;
        conv_.algorithm = GENFUSE_CONV_NONE;
    }

    int32_t ways() const { return ways_; }

    const char* algorithm() const {
        switch (conv_.algorithm) {
            case GENFUSE_CONV_WINOGRAD:
                if (conv_.tile == 2) return "winograd 2x2";
                if (conv_.tile == 6) return "winograd 6x6";
                return conv_.folded ? "winograd folded" : "winograd";
            case GENFUSE_CONV_DIRECT:
                return "direct";
            case GENFUSE_CONV_DEPTHWISE:
                return "depthwise";
            case GENFUSE_CONV_PLANAR:
                return "planar";
            case GENFUSE_CONV_MATRIX:
                return "matrix";
            default:
                return "none";
        }
    }

    int32_t tile() const { return conv_.tile; }

    const char* product() const { return conv_.product == GENFUSE_BFLOAT16 ? "bfloat16" : "float32"; }

    std::pair<int64_t, int64_t> output(int64_t height, int64_t width) const {
        genfuse_message message{};
        int64_t out[2];
        raise_unless_ok(genfuse_conv_output(&conv_, height, width, out, &message), message);
        return {out[0], out[1]};
    }

    int64_t packed_size() const {
        genfuse_message message{};
        int64_t size;
        raise_unless_ok(genfuse_conv_packed_size(&conv_, &size, &message), message);
        return size;
    }

    void pack(uintptr_t weight, int32_t weight_dtype, uintptr_t packed, int32_t threads) const {
        const genfuse_weight given{address(weight), weight_dtype};
        call_released(genfuse_conv_pack, &conv_, &given, floats(packed), threads);
    }

    void run(int32_t dtype, int32_t threads, int64_t batch, int64_t height, int64_t width,
             const py::object& x, const py::object& skip, const genfuse_prologue& prologue, uintptr_t packed,
             uintptr_t weight, int32_t weight_dtype, const genfuse_epilogue& epilogue,
             const py::object& residual, const py::object& residual_skip, const py::object& out, int32_t rows,
             int32_t shared) const {
        genfuse_conv_norm_act_args args{};
        args.blocking = {rows, shared};
        args.dtype = dtype;
        args.threads = threads;
        args.batch = batch;
        args.height = height;
        args.width = width;
        args.x = image_from(x);
        args.skip = image_from(skip);
        args.prologue = prologue;
        args.conv = conv_;
        args.packed = floats(packed);
        args.weight = {address(weight), weight_dtype};
        args.epilogue = epilogue;
        args.epilogue.residual = image_from(residual);
        args.epilogue.residual_skip = image_from(residual_skip);
        args.out = image_from(out);
        run_recorded(run_conv, ConvCall{args, accuracy_});
    }

    void weight_gradient(int32_t dtype, int32_t threads, int64_t batch, int64_t height, int64_t width,
                         const py::object& x, const py::object& skip, const genfuse_prologue& prologue,
                         const py::object& gradient, uintptr_t weight, int32_t weight_dtype, bool accumulate,
                         bool exact) const {
        genfuse_weight_gradient_args args{};
        args.unit.dtype = dtype;
        args.unit.threads = threads;
        args.unit.batch = batch;
        args.unit.height = height;
        args.unit.width = width;
        args.unit.x = image_from(x);
        args.unit.skip = image_from(skip);
        args.unit.prologue = prologue;
        args.unit.conv = conv_;
        args.unit.out = image_from(gradient);
        args.weight = address(weight);
        args.weight_dtype = weight_dtype;
        args.accumulate = accumulate;
        args.exact = exact;
        call_released(genfuse_weight_gradient, &args);
    }

  private:
    genfuse_conv conv_{};
    int32_t ways_ = 1, accuracy_ = GENFUSE_CLOSE;
};

genfuse_prologue make_prologue(int32_t kind, int32_t groups, bool centred, int32_t activation, float slope,
                               double eps, int64_t weight_stride, int64_t bias_stride, int64_t film_stride,
                               double dropout, uint32_t dropout_stream) {
    genfuse_prologue prologue{};
    prologue.kind = kind;
    prologue.groups = groups;
    prologue.centred = centred;
    prologue.activation = activation;
    prologue.slope = slope;
    prologue.eps = eps;
    prologue.weight_stride = weight_stride;
    prologue.bias_stride = bias_stride;
    prologue.film_stride = film_stride;
    prologue.dropout = dropout;
    prologue.dropout_stream = dropout_stream;
    return prologue;
}

// The same one of these tensors.
genfuse_prologue prologue_of(const genfuse_prologue& form, uintptr_t stats, uintptr_t mean,
                             uintptr_t variance, uintptr_t weight, uintptr_t bias, uintptr_t film_scale,
                             uintptr_t film_shift, uintptr_t seeds) {
    genfuse_prologue prologue = form;
    prologue.stats = floats(stats);
    prologue.mean = floats(mean);
    prologue.variance = floats(variance);
    prologue.weight = floats(weight);
    prologue.bias = floats(bias);
    prologue.film_scale = floats(film_scale);
    prologue.film_shift = floats(film_shift);
    prologue.seeds = static_cast<const int64_t*>(address(seeds));
    return prologue;
}

genfuse_epilogue make_epilogue(int64_t shift_stride, float scale, int32_t activation, float slope,
                               Pair pool) {
    genfuse_epilogue epilogue{};
    epilogue.shift_stride = shift_stride;
    epilogue.scale = scale;
    epilogue.activation = activation;
    epilogue.slope = slope;
    epilogue.pool[0] = pool.first;
    epilogue.pool[1] = pool.second;
    return epilogue;
}

genfuse_epilogue epilogue_of(const genfuse_epilogue& form, uintptr_t bias, uintptr_t shift, uintptr_t stats,
                             uintptr_t projection) {
    genfuse_epilogue epilogue = form;
    epilogue.bias = floats(bias);
    epilogue.shift = floats(shift);
    epilogue.stats = static_cast<float*>(address(stats));
    epilogue.projection = floats(projection);
    return epilogue;
}

void norm_stats(int32_t dtype, int32_t threads, int64_t batch, int64_t height, int64_t width,
                const py::object& x, uintptr_t stats) {
    genfuse_norm_stats_args args{};
    args.dtype = dtype;
    args.threads = threads;
    args.batch = batch;
    args.height = height;
    args.width = width;
    args.x = image_from(x);
    args.stats = static_cast<float*>(address(stats));
    run_recorded(genfuse_norm_stats, args);
}

}  // namespace

void bind_conv(py::module_& module) {
    py::class_<genfuse_prologue>(module, "Prologue")
        .def(py::init(&make_prologue), py::arg("kind") = 0, py::arg("groups") = 1, py::arg("centred") = true,
             py::arg("activation") = 0, py::arg("slope") = 0.0f, py::arg("eps") = 0.0,
             py::arg("weight_stride") = 0, py::arg("bias_stride") = 0, py::arg("film_stride") = 0,
             py::arg("dropout") = 0.0, py::arg("dropout_stream") = 0)
        .def("of", &prologue_of, py::arg("stats"), py::arg("mean"), py::arg("variance"), py::arg("weight"),
             py::arg("bias"), py::arg("film_scale"), py::arg("film_shift"), py::arg("seeds"));
    py::class_<genfuse_epilogue>(module, "Epilogue")
        .def(py::init(&make_epilogue), py::arg("shift_stride") = 0, py::arg("scale") = 1.0f,
             py::arg("activation") = 0, py::arg("slope") = 0.0f, py::arg("pool") = Pair{1, 1})
        .def("of", &epilogue_of, py::arg("bias"), py::arg("shift"), py::arg("stats"), py::arg("projection"));
    py::class_<Conv>(module, "Conv")
        .def(py::init<int32_t, int32_t, int32_t, Pair, Pair, Pair, Pair, Pair, Pair, bool, int32_t, Pair,
                      int32_t, int64_t, int64_t, int32_t, bool, int32_t>(),
             py::arg("in_channels"), py::arg("out_channels"), py::arg("groups"), py::arg("kernel"),
             py::arg("stride"), py::arg("padding"), py::arg("extra_padding"), py::arg("dilation"),
             py::arg("output_padding"), py::arg("transposed"), py::arg("padding_mode"), py::arg("upsample"),
             py::arg("dtype"), py::arg("height"), py::arg("width"), py::arg("accuracy"), py::arg("plain"),
             py::arg("way") = 0)
        .def_static(
            "without", [](int32_t channels) { return Conv(channels); }, py::arg("channels"))
        .def_property_readonly("ways", &Conv::ways, "How many kernels the convolution has; `way` is one.")
        .def_property_readonly("algorithm", &Conv::algorithm)
        .def_property_readonly("tile", &Conv::tile, "Output pixels along an axis of Winograd's tile, or 0.")
        .def_property_readonly("product", &Conv::product, "The dtype of the factors.")
        .def("output", &Conv::output, py::arg("height"), py::arg("width"))
        .def_property_readonly("packed_size", &Conv::packed_size)
        .def("pack", &Conv::pack, py::arg("weight"), py::arg("weight_dtype"), py::arg("packed"),
             py::arg("threads") = 1)
        .def("run", &Conv::run, py::arg("dtype"), py::arg("threads"), py::arg("batch"), py::arg("height"),
             py::arg("width"), py::arg("x"), py::arg("skip"), py::arg("prologue"), py::arg("packed"),
             py::arg("weight"), py::arg("weight_dtype"), py::arg("epilogue"), py::arg("residual"),
             py::arg("residual_skip"), py::arg("out"), py::arg("rows") = 0, py::arg("shared") = 0)
        .def("weight_gradient", &Conv::weight_gradient, py::arg("dtype"), py::arg("threads"),
             py::arg("batch"), py::arg("height"), py::arg("width"), py::arg("x"), py::arg("skip"),
             py::arg("prologue"), py::arg("gradient"), py::arg("weight"), py::arg("weight_dtype"),
             py::arg("accumulate"), py::arg("exact"));
    module.def("norm_stats", &norm_stats, py::arg("dtype"), py::arg("threads"), py::arg("batch"),
               py::arg("height"), py::arg("width"), py::arg("x"), py::arg("stats"));
    module.def(
        "checksum", [](uintptr_t data, int64_t bytes) { return checksum(address(data), bytes); },
        py::arg("data"), py::arg("bytes"), "Of 16 cache lines spread over the memory.");
}

}  // namespace genfuse
