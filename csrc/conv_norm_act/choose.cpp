// Which kernel a convolution runs: by its shape, the picture's size and the instruction set, never by the
// batch.
#include "common/cpuid.h"
#include "conv_norm_act/depthwise.h"
#include "conv_norm_act/planar.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {
namespace {

// Weights that come from memory in every call, where a picture's products last no longer than they do.
constexpr int64_t kHeavyBytes = 4 << 20;
// Tiles of a picture from which four kernels of 25 products, 100 for 4x4 pixels of the input, are worth their
// weights beside one of 36 at each of the upsampled 8x8.
constexpr int64_t kFoldedTiles = 16;
// Channels up to which a 3x3 convolution by its definition is faster than by Winograd, whose transforms cost
// the same whatever the channels on the other side.
constexpr int64_t kMaxPlanarOutputs = 4, kMaxDirectInputs = 4;

int64_t tiles_of(int64_t pixels) {
    return (pixels + winograd::kTile - 1) / winograd::kTile;
}

}  // namespace
}  // namespace genfuse

void genfuse_conv_choose(genfuse_conv* conv, int32_t dtype, int64_t height, int64_t width, int32_t exact,
                         int32_t plain) {
    using namespace genfuse;
    conv->folded = 0;
    conv->product = GENFUSE_FLOAT32;
    const int64_t inputs = conv->in_channels / conv->groups, outputs = conv->out_channels / conv->groups;
    const bool winograd = !exact && winograd_applies(*conv);
    if (plain && conv->groups > 1 && inputs <= depthwise::kMaxInputs && outputs < kBlock) {
        conv->algorithm = GENFUSE_CONV_DEPTHWISE;
        return;
    }
    if (plain && outputs <= (winograd ? kMaxPlanarOutputs : planar::kMaxOutputs)) {
        conv->algorithm = GENFUSE_CONV_PLANAR;
        return;
    }
    const bool pairs = dtype == GENFUSE_BFLOAT16 && current_isa() == Isa::avx512_bf16;
    if (pairs) conv->product = GENFUSE_BFLOAT16;
    conv->algorithm = GENFUSE_CONV_DIRECT;
    if (!winograd || inputs <= kMaxDirectInputs) return;
    const int64_t one_tile =
        tiles_of(output_size(*conv, 0, height)) * tiles_of(output_size(*conv, 1, width)) == 1;
    if (!conv->transposed && one_tile && winograd::packed_phase(*conv) * 4 > kHeavyBytes) return;
    conv->algorithm = GENFUSE_CONV_WINOGRAD;
    conv->folded = conv->upsample[0] == 2 && conv->upsample[1] == 2 &&
                   conv->padding_mode != GENFUSE_PAD_REFLECT &&
                   tiles_of(height) * tiles_of(width) >= kFoldedTiles;
}
