// conv_norm_act and norm_stats: images, the convolution, what it does while it reads and while it writes.
#include "conv_norm_act/check.h"
#include "network/describe.h"

namespace genfuse {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 24, kMostPadding = int64_t{1} << 16, kMostStep = 1024,
                  kMostPhases = 64;

struct Size {
    int64_t batch, height, width;
};

// Its form first, then its memory.
void image(Fields& fields, const std::string& name, genfuse_image& image, const Size& size, int32_t dtype,
           bool written = false, bool optional = false) {
    int32_t present = image.data || !optional;
    if (optional) fields.number((name + ".present").c_str(), present, 0, 1);
    if (!present) return;
    fields.number((name + ".layout").c_str(), image.layout, GENFUSE_PLANAR, GENFUSE_CHANNELS_LAST);
    fields.number((name + ".channels").c_str(), image.channels, 1, kMostChannels);
    fields.number((name + ".stride_n").c_str(), image.stride_n, 0, kMostStride);
    fields.number((name + ".stride_c").c_str(), image.stride_c, 0, kMostStride);
    fields.number((name + ".stride_h").c_str(), image.stride_h, 0, kMostStride);
    fields.number((name + ".stride_w").c_str(), image.stride_w, 0, kMostStride);
    const bool planar = image.layout == GENFUSE_PLANAR;
    const Reach reach = Reach(item_bytes(dtype))
                            .along(size.batch, image.stride_n)
                            .along(image.channels, planar ? image.stride_c : 1)
                            .along(size.height, image.stride_h)
                            .along(size.width, planar ? 1 : image.stride_w);
    // Samples may share what is read; all else has memory of its own, and so no kernel works in more.
    const __int128 count = static_cast<__int128>(image.channels) * size.height * size.width;
    fields.elements(name.c_str(), written ? count * size.batch : count, item_bytes(dtype), reach,
                    Access::writes);
    fields.visit(name.c_str(), image.data, reach, written ? Access::writes : Access::reads, false);
}

void convolution(Fields& fields, ConvCall& call) {
    genfuse_conv& conv = call.args.conv;
    int32_t convolves = conv.algorithm != GENFUSE_CONV_NONE;
    fields.number("convolves", convolves, 0, 1);
    fields.number("accuracy", call.accuracy, GENFUSE_FAST, GENFUSE_CLOSE);
    fields.number("in_channels", conv.in_channels, 1, kMostChannels);
    fields.number("out_channels", conv.out_channels, 1, kMostChannels);
    fields.number("groups", conv.groups, 1, kMostChannels);
    fields.number("transposed", conv.transposed, 0, 1);
    fields.number("padding_mode", conv.padding_mode, GENFUSE_PAD_ZEROS, GENFUSE_PAD_CIRCULAR);
    const char* const along[] = {".height", ".width"};
    for (int axis = 0; axis < 2; ++axis) {
        const auto pair = [&](const char* name, int32_t (&values)[2], int64_t least, int64_t most) {
            fields.number((std::string(name) + along[axis]).c_str(), values[axis], least, most);
        };
        pair("kernel", conv.kernel, 1, 4096);
        pair("stride", conv.stride, 1, conv.transposed ? kMostPhases : kMostStep);
        pair("padding", conv.padding, 0, kMostPadding);
        pair("extra_padding", conv.extra_padding, -kMostPadding, kMostPadding);
        pair("dilation", conv.dilation, 1, kMostStep);
        pair("output_padding", conv.output_padding, 0, kMostStep);
        pair("upsample", conv.upsample, 1, 2);
        pair("pool", call.args.epilogue.pool, 1, 2);
    }
    conv.algorithm = convolves ? GENFUSE_CONV_DIRECT : GENFUSE_CONV_NONE;
    conv.tile = conv.folded = 0;
    conv.product = GENFUSE_FLOAT32;
}

void prologue(Fields& fields, genfuse_prologue& p, int64_t batch, int64_t channels) {
    fields.number("norm", p.kind, GENFUSE_NORM_NONE, GENFUSE_NORM_PIXEL);
    fields.number("norm.groups", p.groups, 0, kMostChannels);
    fields.number("norm.centred", p.centred, 0, 1);
    fields.number("activation", p.activation, 0, GENFUSE_ACTIVATIONS - 1);
    fields.real("slope", p.slope);
    fields.real("eps", p.eps);
    fields.number("weight_stride", p.weight_stride, 0, kMostChannels);
    fields.number("bias_stride", p.bias_stride, 0, kMostChannels);
    fields.number("film_stride", p.film_stride, 0, kMostChannels);
    const Reach of_channels = Reach::dense(sizeof(float), channels);
    const auto of_samples = [&](int64_t stride) { return of_channels.along(batch, stride); };
    fields.reads("stats", p.stats, Reach::dense(sizeof(float), 2 * batch * channels), true);
    fields.reads("mean", p.mean, of_channels, true);
    fields.reads("variance", p.variance, of_channels, true);
    fields.reads("norm.weight", p.weight, of_samples(p.weight_stride), true);
    fields.reads("norm.bias", p.bias, of_samples(p.bias_stride), true);
    fields.reads("film_scale", p.film_scale, of_samples(p.film_stride), true);
    fields.reads("film_shift", p.film_shift, of_samples(p.film_stride), true);
    fields.real("dropout", p.dropout);
    int64_t stream = p.dropout_stream;
    fields.number("dropout_stream", stream, 0, UINT32_MAX);
    p.dropout_stream = static_cast<uint32_t>(stream);
    fields.reads("seeds", p.seeds, Reach::dense(sizeof(int64_t), batch), true);
}

void epilogue(Fields& fields, genfuse_epilogue& e, const genfuse_conv& conv, const Size& out, int32_t dtype) {
    fields.number("shift_stride", e.shift_stride, 0, kMostChannels);
    fields.real("scale", e.scale);
    fields.number("out_activation", e.activation, 0, GENFUSE_ACTIVATIONS - 1);
    fields.real("out_slope", e.slope);
    const Reach of_channels = Reach::dense(sizeof(float), conv.out_channels);
    fields.reads("bias", e.bias, of_channels, true);
    fields.reads("shift", e.shift, of_channels.along(out.batch, e.shift_stride), true);
    fields.visit("out_stats", e.stats, Reach::dense(sizeof(float), 2 * out.batch * conv.out_channels),
                 Access::writes, true);
    image(fields, "residual", e.residual, out, dtype, false, true);
    image(fields, "residual_skip", e.residual_skip, out, dtype, false, true);
    const int64_t block = GENFUSE_CHANNEL_BLOCK, of_group = conv.out_channels / conv.groups;
    const int64_t padded = (of_group + block - 1) / block * block * conv.groups;
    const int64_t channels =
        int64_t{e.residual.channels} + (e.residual_skip.data ? e.residual_skip.channels : 0);
    fields.reads("projection", e.projection, Reach::dense(sizeof(float), padded * (channels ? channels : 1)),
                 true);
}

void refuse_unless_ok(genfuse_status status, const genfuse_message& message) {
    if (status != GENFUSE_OK) throw Refused(message.text);
}

}  // namespace

void describe(Fields& fields, ConvCall& call) {
    genfuse_conv_norm_act_args& args = call.args;
    fields.number("dtype", args.dtype, GENFUSE_FLOAT32, GENFUSE_FLOAT16);
    fields.number("batch", args.batch, 1, kMostSize);
    fields.number("height", args.height, 1, kMostPixels);
    fields.number("width", args.width, 1, kMostPixels);
    convolution(fields, call);
    genfuse_message message{};
    int64_t out[2];
    refuse_unless_ok(genfuse_conv_output(&args.conv, args.height, args.width, out, &message), message);
    const Size in{args.batch, args.height, args.width}, whole{args.batch, out[0], out[1]};
    if (out[0] < args.epilogue.pool[0] || out[1] < args.epilogue.pool[1])
        throw Refused("the picture is too small for the kernel: the output would have no pixels");
    image(fields, "x", args.x, in, args.dtype);
    image(fields, "skip", args.skip, in, args.dtype, false, true);
    prologue(fields, args.prologue, args.batch, args.conv.in_channels);
    if (args.conv.algorithm != GENFUSE_CONV_NONE) {
        fields.number("weight_dtype", args.weight.dtype, GENFUSE_FLOAT32, GENFUSE_BFLOAT16);
        const int64_t weights = int64_t{args.conv.in_channels / args.conv.groups} * args.conv.out_channels *
                                args.conv.kernel[0] * args.conv.kernel[1];
        const void* raw = args.packed ? args.packed : args.weight.data;
        fields.visit("weight", raw, Reach::dense(item_bytes(args.weight.dtype), weights), Access::packs,
                     false);
        args.weight.data = raw;
    }
    epilogue(fields, args.epilogue, args.conv, whole, args.dtype);
    const Size pooled{args.batch, out[0] / args.epilogue.pool[0], out[1] / args.epilogue.pool[1]};
    image(fields, "out", args.out, pooled, args.dtype, true);
}

void choose_kernel(ConvCall& call) {
    genfuse_conv_norm_act_args& args = call.args;
    genfuse_message message{};
    if (args.conv.algorithm != GENFUSE_CONV_NONE) {
        const bool plain = !args.epilogue.projection && args.prologue.dropout == 0 &&
                           args.epilogue.pool[0] == args.epilogue.pool[1];
        genfuse_conv ways[GENFUSE_CONV_MOST_WAYS];
        genfuse_conv_ways(&args.conv, args.dtype, args.height, args.width, call.accuracy, plain, ways);
        args.conv = ways[0];
    }
    refuse_unless_ok(check_args(args, &message), message);
}

genfuse_status run_conv(const ConvCall* call, genfuse_message* message) {
    return genfuse_conv_norm_act(&call->args, message);
}

void describe(Fields& fields, genfuse_norm_stats_args& args) {
    fields.number("dtype", args.dtype, GENFUSE_FLOAT32, GENFUSE_FLOAT16);
    fields.number("batch", args.batch, 1, kMostSize);
    fields.number("height", args.height, 1, kMostPixels);
    fields.number("width", args.width, 1, kMostPixels);
    image(fields, "x", args.x, {args.batch, args.height, args.width}, args.dtype);
    fields.writes("stats", args.stats, Reach::dense(sizeof(float), 2 * args.batch * args.x.channels));
}

}  // namespace genfuse
