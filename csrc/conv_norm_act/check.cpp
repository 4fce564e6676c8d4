#include "conv_norm_act/check.h"

#include <algorithm>
#include <cmath>

#include "common/cpuid.h"
#include "common/message.h"
#include "conv_norm_act/depthwise.h"
#include "conv_norm_act/planar.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {
namespace {

constexpr int32_t kMaxTaps = 4096;

genfuse_status check_residual(const genfuse_conv_norm_act_args& args, genfuse_message* message) {
    const genfuse_epilogue& epilogue = args.epilogue;
    const genfuse_image &residual = epilogue.residual, &skip = epilogue.residual_skip;
    if (!epilogue.projection && !skip.data) {
        return residual.data ? check_image("residual", residual, args.conv.out_channels, message)
                             : GENFUSE_OK;
    }
    if (!epilogue.projection || !residual.data) {
        return invalid(message, "%s is absent, expected it beside residual_skip or a projection",
                       residual.data ? "projection" : "residual");
    }
    if (residual.channels < 1 || (skip.data && skip.channels < 1)) {
        return invalid(message, "%s has no channels, expected 1 or more",
                       residual.channels < 1 ? "residual" : "residual_skip");
    }
    const genfuse_status status = check_image("residual", residual, residual.channels, message);
    return status == GENFUSE_OK && skip.data ? check_image("residual_skip", skip, skip.channels, message)
                                             : status;
}

}  // namespace

genfuse_status check_prologue(const genfuse_prologue& prologue, int64_t channels, genfuse_message* message) {
    if (prologue.kind < GENFUSE_NORM_NONE || prologue.kind > GENFUSE_NORM_PIXEL) {
        return invalid(message, "norm has code %d, which is none", static_cast<int>(prologue.kind));
    }
    if (prologue.activation < 0 || prologue.activation >= GENFUSE_ACTIVATIONS) {
        return invalid(message, "activation has code %d, which is none",
                       static_cast<int>(prologue.activation));
    }
    if (prologue.kind == GENFUSE_NORM_GROUP && (prologue.groups < 1 || channels % prologue.groups)) {
        return invalid(message, "num_groups is %d, expected a divisor of the %lld channels",
                       static_cast<int>(prologue.groups), static_cast<long long>(channels));
    }
    if (prologue.kind == GENFUSE_NORM_GIVEN && (!prologue.mean || !prologue.variance)) {
        return invalid(message, "running_mean or running_var is absent, expected both: (C,)%s", "");
    }
    if (!std::isfinite(prologue.eps) || prologue.eps < 0) {
        return invalid(message, "eps is %g, expected a finite number, 0 or more", prologue.eps);
    }
    if (!prologue.film_scale != !prologue.film_shift) {
        return invalid(message, "one of film_scale and film_shift is absent, expected both or neither%s", "");
    }
    if (!(prologue.dropout >= 0 && prologue.dropout < 1)) {
        return invalid(message, "dropout is %g, expected at least 0 and less than 1", prologue.dropout);
    }
    if (prologue.dropout > 0 && !prologue.seeds) {
        return invalid(message, "dropout is %g, expected seeds beside it: one a sample", prologue.dropout);
    }
    return GENFUSE_OK;
}

genfuse_status check_image(const char* name, const genfuse_image& image, int64_t channels,
                           genfuse_message* message) {
    if (image.layout < GENFUSE_PLANAR || image.layout > GENFUSE_BLOCKED) {
        return invalid(message, "%s has layout code %d, expected planar, channels last or blocked", name,
                       static_cast<int>(image.layout));
    }
    if (image.channels != channels) {
        return invalid(message, "%s has %d channels, expected %lld", name, static_cast<int>(image.channels),
                       static_cast<long long>(channels));
    }
    return GENFUSE_OK;
}

genfuse_status check_conv(const genfuse_conv& conv, genfuse_message* message) {
    if (conv.in_channels < 1 || conv.out_channels < 1 || conv.groups < 1 || conv.in_channels % conv.groups ||
        conv.out_channels % conv.groups) {
        return invalid(message, "groups is %d, expected a divisor of in_channels %d and of out_channels %d",
                       static_cast<int>(conv.groups), static_cast<int>(conv.in_channels),
                       static_cast<int>(conv.out_channels));
    }
    for (int axis = 0; axis < 2; ++axis) {
        const char* const along = axis ? "width" : "height";
        if (conv.kernel[axis] < 1 || conv.stride[axis] < 1 || conv.dilation[axis] < 1 ||
            conv.padding[axis] < 0) {
            return invalid(message,
                           "kernel %d, stride %d, dilation %d, padding %d along the %s, expected 1 or more, "
                           "padding 0 or more",
                           static_cast<int>(conv.kernel[axis]), static_cast<int>(conv.stride[axis]),
                           static_cast<int>(conv.dilation[axis]), static_cast<int>(conv.padding[axis]),
                           along);
        }
        if (conv.padding[axis] + int64_t{conv.extra_padding[axis]} < 0 ||
            (conv.transposed && conv.extra_padding[axis] != 0)) {
            return invalid(
                message, "extra_padding is %d along the %s, expected at least -padding, and 0 if transposed",
                static_cast<int>(conv.extra_padding[axis]), along);
        }
        if (conv.output_padding[axis] < 0 ||
            (conv.output_padding[axis] > 0 &&
             (!conv.transposed ||
              conv.output_padding[axis] >= std::max(conv.stride[axis], conv.dilation[axis])))) {
            return invalid(message,
                           "output_padding is %d along the %s, expected less than stride or dilation, and 0 "
                           "unless transposed",
                           static_cast<int>(conv.output_padding[axis]), along);
        }
    }
    if (static_cast<int64_t>(conv.kernel[0]) * conv.kernel[1] > kMaxTaps) {
        return invalid(message, "kernel has %d x %d weights, expected at most %d",
                       static_cast<int>(conv.kernel[0]), static_cast<int>(conv.kernel[1]),
                       static_cast<int>(kMaxTaps));
    }
    if (conv.padding_mode < GENFUSE_PAD_ZEROS || conv.padding_mode > GENFUSE_PAD_CIRCULAR ||
        (conv.transposed &&
         (conv.padding_mode != GENFUSE_PAD_ZEROS || conv.upsample[0] * conv.upsample[1] != 1))) {
        return invalid(message, "padding_mode or upsample has a value that this convolution does not take%s",
                       "");
    }
    for (const int32_t repeats : conv.upsample) {
        if (repeats != 1 && repeats != 2) {
            return invalid(message, "upsample is %d, expected 1 or 2", static_cast<int>(repeats));
        }
    }
    if (conv.algorithm == GENFUSE_CONV_NONE &&
        (conv.in_channels != conv.out_channels || conv.kernel[0] * conv.kernel[1] != 1 || conv.transposed ||
         conv.stride[0] * conv.stride[1] != 1 || conv.padding[0] + conv.padding[1] != 0 ||
         conv.extra_padding[0] != 0 || conv.extra_padding[1] != 0 ||
         conv.upsample[0] * conv.upsample[1] != 1)) {
        return invalid(message, "a unit without a convolution keeps its channels and pixels%s", "");
    }
    if (conv.folded && (conv.algorithm != GENFUSE_CONV_WINOGRAD || conv.upsample[0] != 2 ||
                        conv.upsample[1] != 2 || conv.padding_mode == GENFUSE_PAD_REFLECT)) {
        return invalid(message, "folded is for Winograd of an upsampled image, its border not reflected%s",
                       "");
    }
    if (conv.algorithm == GENFUSE_CONV_WINOGRAD) {
        if (!winograd_applies(conv)) {
            return invalid(message, "algorithm is Winograd, which this convolution does not have%s", "");
        }
        const bool takes_large = !conv.transposed && !conv.folded && conv.stride[0] * conv.stride[1] == 1 &&
                                 conv.product == GENFUSE_FLOAT32;
        if (conv.tile != winograd::kTile && conv.tile != winograd::kSmallTile &&
            !(takes_large && conv.tile == winograd::kLargeTile)) {
            return invalid(message, "tile is %d, expected 4 or 2, or 6 at stride 1 with factors of float32",
                           static_cast<int>(conv.tile));
        }
    }
    if (conv.algorithm == GENFUSE_CONV_MATRIX &&
        (conv.product != GENFUSE_BFLOAT16 || current_isa() != Isa::amx_bf16)) {
        return invalid(message, "algorithm is matrix, expected products of bfloat16 and a matrix unit%s", "");
    }
    if (conv.algorithm == GENFUSE_CONV_PLANAR && conv.out_channels / conv.groups > planar::kMaxOutputs) {
        return invalid(message, "algorithm is planar, which has at most 8 output channels a group%s", "");
    }
    if (conv.algorithm == GENFUSE_CONV_DEPTHWISE && conv.in_channels / conv.groups > depthwise::kMaxInputs) {
        return invalid(message, "algorithm is depthwise, which has at most 8 input channels a group%s", "");
    }
    return GENFUSE_OK;
}

genfuse_status check_weight(const genfuse_weight& weight, genfuse_message* message) {
    if (weight.dtype == GENFUSE_FLOAT32 || weight.dtype == GENFUSE_BFLOAT16) return GENFUSE_OK;
    return invalid(message, "dtype of the weight is code %d, expected float32 or bfloat16",
                   static_cast<int>(weight.dtype));
}

genfuse_status check_args(const genfuse_conv_norm_act_args& args, genfuse_message* message) {
    genfuse_status status = check_conv(args.conv, message);
    if (status != GENFUSE_OK) return status;
    if (args.dtype != GENFUSE_FLOAT32 && args.dtype != GENFUSE_BFLOAT16 && args.dtype != GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, bfloat16 or float16",
                       static_cast<int>(args.dtype));
    }
    if (args.conv.product == GENFUSE_BFLOAT16 &&
        (args.dtype != GENFUSE_BFLOAT16 || current_isa() == Isa::avx512)) {
        return invalid(message,
                       "product is bfloat16, expected images of it and an instruction set that has it%s", "");
    }
    if (args.batch < 0 || args.height < 1 || args.width < 1) {
        return invalid(message, "x has %lld samples of %lld x %lld pixels, expected pixels",
                       static_cast<long long>(args.batch), static_cast<long long>(args.height),
                       static_cast<long long>(args.width));
    }
    // Phases of an output are not written in the order of its rows.
    const bool has_phases =
        args.conv.folded || (args.conv.transposed && args.conv.stride[0] * args.conv.stride[1] > 1);
    for (const int32_t pool : args.epilogue.pool) {
        if (pool < 1 || pool > 2 || (pool == 2 && has_phases)) {
            return invalid(message,
                           "pool is %d, expected 1, or 2 without folded and transposed with a stride",
                           static_cast<int>(pool));
        }
    }
    if (args.blocking.rows < 0) {
        return invalid(message, "rows of a unit are %d, expected 0 or more",
                       static_cast<int>(args.blocking.rows));
    }
    const bool plain = !args.epilogue.projection && args.prologue.dropout == 0 &&
                       args.epilogue.pool[0] == args.epilogue.pool[1];
    if (!plain &&
        (args.conv.algorithm == GENFUSE_CONV_PLANAR || args.conv.algorithm == GENFUSE_CONV_DEPTHWISE)) {
        return invalid(message, "the kernel takes no dropout, no projection and no pooling of one axis%s",
                       "");
    }
    const int64_t size[2] = {args.height, args.width};
    for (int axis = 0; axis < 2; ++axis) {
        if (output_size(args.conv, axis, size[axis]) < 1) {
            return invalid(message, "%s is %lld, too small for the kernel: the output would have none",
                           axis ? "width" : "height", static_cast<long long>(size[axis]));
        }
        if (output_size(args.conv, axis, size[axis]) < args.epilogue.pool[axis]) {
            return invalid(message, "%s is %lld, too small to be pooled: the output would have none",
                           axis ? "width" : "height", static_cast<long long>(size[axis]));
        }
        const int64_t reads = size[axis] * args.conv.upsample[axis];
        const int64_t padding = args.conv.padding[axis] + int64_t{std::max(0, args.conv.extra_padding[axis])};
        if (args.conv.padding_mode == GENFUSE_PAD_REFLECT && padding >= reads) {
            return invalid(message, "padding is %lld, expected less than the %lld pixels that it reflects",
                           static_cast<long long>(padding), static_cast<long long>(reads));
        }
        if (args.conv.padding_mode == GENFUSE_PAD_CIRCULAR && padding > reads) {
            return invalid(message, "padding is %lld, expected at most the %lld pixels that it repeats",
                           static_cast<long long>(padding), static_cast<long long>(reads));
        }
    }
    status = check_prologue(args.prologue, args.conv.in_channels, message);
    const int64_t skipped = args.skip.data ? args.skip.channels : 0;
    if (status == GENFUSE_OK) status = check_image("x", args.x, args.conv.in_channels - skipped, message);
    if (status == GENFUSE_OK && args.skip.data) status = check_image("skip", args.skip, skipped, message);
    if (status == GENFUSE_OK) status = check_image("out", args.out, args.conv.out_channels, message);
    if (status == GENFUSE_OK) status = check_residual(args, message);
    if (status != GENFUSE_OK || args.batch == 0) return status;
    const bool weights = args.conv.algorithm != GENFUSE_CONV_NONE;
    if (!args.x.data || !args.out.data || (weights && !args.packed && !args.weight.data)) {
        return invalid(message, "x, out or the weights are absent%s", "");
    }
    if (!args.packed && args.weight.data) {
        status = check_weight(args.weight, message);
        if (status != GENFUSE_OK) return status;
    }
    if (args.epilogue.activation < 0 || args.epilogue.activation >= GENFUSE_ACTIVATIONS) {
        return invalid(message, "output activation has code %d, which is none",
                       static_cast<int>(args.epilogue.activation));
    }
    return GENFUSE_OK;
}

}  // namespace genfuse
