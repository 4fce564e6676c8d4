// attention, bias_act, upfirdn2d, timestep_embedding.
#include "network/describe.h"

namespace genfuse {
namespace {

constexpr int64_t kMostTaps = 256, kMostSide = int64_t{1} << 16;

void heads(Fields& fields, const std::string& name, genfuse_heads& of, const genfuse_attention_args& args,
           int64_t tokens, int64_t channels, bool written = false) {
    fields.number((name + ".stride_n").c_str(), of.stride_n, 0, kMostStride);
    fields.number((name + ".stride_head").c_str(), of.stride_head, 0, kMostStride);
    fields.number((name + ".stride_token").c_str(), of.stride_token, 0, kMostStride);
    fields.number((name + ".stride_channel").c_str(), of.stride_channel, 0, kMostStride);
    const Reach reach = Reach(item_bytes(args.dtype))
                            .along(args.batch, of.stride_n)
                            .along(args.heads, of.stride_head)
                            .along(tokens, of.stride_token)
                            .along(channels, of.stride_channel);
    // Samples may share what is read; all else has memory of its own, and so the kernel works in no more.
    const __int128 count = static_cast<__int128>(args.heads) * tokens * channels;
    fields.elements(name.c_str(), written ? count * args.batch : count, item_bytes(args.dtype), reach,
                    Access::writes);
    fields.visit(name.c_str(), of.data, reach, written ? Access::writes : Access::reads, false);
}

}  // namespace

void describe(Fields& fields, genfuse_attention_args& args) {
    fields.number("dtype", args.dtype, GENFUSE_FLOAT32, GENFUSE_FLOAT16);
    fields.number("batch", args.batch, 1, kMostSize);
    fields.number("heads", args.heads, 1, kMostChannels);
    fields.number("queries", args.queries, 1, kMostSize);
    fields.number("keys", args.keys, 1, kMostSize);
    fields.number("channels", args.channels, 1, kMostChannels);
    fields.number("value_channels", args.value_channels, 1, kMostChannels);
    fields.real("scale", args.scale);
    heads(fields, "q", args.q, args, args.queries, args.channels);
    heads(fields, "k", args.k, args, args.keys, args.channels);
    heads(fields, "v", args.v, args, args.keys, args.value_channels);
    heads(fields, "out", args.out, args, args.queries, args.value_channels, true);
}

void describe(Fields& fields, genfuse_bias_act_args& args) {
    fields.number("dtype", args.dtype, GENFUSE_FLOAT32, GENFUSE_FLOAT16);
    fields.number("channels_last", args.channels_last, 0, 1);
    fields.number("activation", args.activation, 0, GENFUSE_BIAS_ACTIVATIONS - 1);
    fields.number("samples", args.samples, 1, kMostChannels);
    fields.number("channels", args.channels, 1, kMostChannels);
    fields.number("pixels", args.pixels, 1, kMostSize);
    fields.real("slope", args.slope);
    fields.real("gain", args.gain);
    fields.real("clamp", args.clamp);
    const Reach whole = Reach(item_bytes(args.dtype))
                            .along(args.pixels, 1)
                            .along(args.channels, args.pixels)
                            .along(args.samples, args.channels * args.pixels);
    fields.reads("x", args.x, whole);
    fields.reads("bias", args.bias, Reach::dense(sizeof(float), args.channels), true);
    fields.reads("scale", args.scale, Reach::dense(sizeof(float), args.samples * args.channels), true);
    fields.number("noise_stride", args.noise_stride, 0, kMostSize);
    fields.reads("noise", args.noise,
                 Reach::dense(sizeof(float), args.pixels).along(args.samples, args.noise_stride), true);
    fields.writes("out", args.out, whole, true);
}

void describe(Fields& fields, genfuse_upfirdn2d_args& args) {
    fields.number("dtype", args.dtype, GENFUSE_FLOAT32, GENFUSE_FLOAT16);
    fields.number("channels_last", args.channels_last, 0, 1);
    fields.number("separable", args.separable, 0, 1);
    fields.number("batch", args.batch, 1, kMostChannels);
    fields.number("channels", args.channels, 1, kMostChannels);
    const auto pair = [&](const char* first, int64_t& a, const char* second, int64_t& b, int64_t least,
                          int64_t most) {
        fields.number(first, a, least, most);
        fields.number(second, b, least, most);
    };
    pair("height", args.height, "width", args.width, 1, kMostSide);
    pair("out_height", args.out_height, "out_width", args.out_width, 1, kMostSide);
    pair("filter_height", args.filter_height, "filter_width", args.filter_width, 1, kMostTaps);
    pair("up.x", args.up_x, "up.y", args.up_y, 1, kMostTaps);
    pair("down.x", args.down_x, "down.y", args.down_y, 1, kMostTaps);
    pair("padding.x", args.pad_x, "padding.y", args.pad_y, -kMostSide, kMostSide);
    const auto dense = [&](int64_t height, int64_t width) {
        return Reach(item_bytes(args.dtype))
            .along(height * width, 1)
            .along(args.channels, height * width)
            .along(args.batch, args.channels * height * width);
    };
    fields.reads("x", args.x, dense(args.height, args.width));
    const int64_t factors =
        args.separable ? args.filter_height + args.filter_width : args.filter_height * args.filter_width;
    fields.reads("filter", args.filter, Reach::dense(sizeof(double), factors));
    fields.writes("out", args.out, dense(args.out_height, args.out_width));
}

void describe(Fields& fields, genfuse_timestep_embedding_args& args) {
    fields.number("dtype", args.dtype, GENFUSE_FLOAT32, GENFUSE_FLOAT64);
    fields.number("t_dtype", args.t_dtype, GENFUSE_FLOAT32, GENFUSE_FLOAT64);
    fields.number("batch", args.batch, 1, kMostSize);
    fields.number("channels", args.channels, 2, kMostChannels);
    fields.number("flip_sin_to_cos", args.flip_sin_to_cos, 0, 1);
    fields.real("downscale_freq_shift", args.downscale_freq_shift);
    fields.real("scale", args.scale);
    fields.real("max_period", args.max_period);
    fields.reads("t", args.t, Reach::dense(item_bytes(args.t_dtype), args.batch));
    fields.writes("out", args.out, Reach::dense(item_bytes(args.dtype), args.batch * args.channels));
}

}  // namespace genfuse
