// Which kernels a convolution can run on, and which it does: by its shape, the picture's size and the
// instruction set, never by the batch.
#include <algorithm>

#include "common/cpuid.h"
#include "conv_norm_act/depthwise.h"
#include "conv_norm_act/planar.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {
namespace {

// Tiles of a picture from which four kernels of 25 products, 100 for 4x4 pixels of the input, are worth their
// weights beside one of 36 at each of the upsampled 8x8.
constexpr int64_t kFoldedTiles = 16;
// Tiles up to which a strided convolution of few taps is direct: by Winograd, one picture of so many takes up
// to 1.7 times as long, and four take three quarters of the time.
constexpr int64_t kFewTiles = 4, kManyTaps = 16;
constexpr int64_t kFewLargeTiles = 9;      // from which large tiles may pay
constexpr int64_t kMostPairs = 128 * 256;  // of channels, where AVX2 gains by them
// Channels up to which a 3x3 convolution by its definition is faster than by Winograd, whose transforms cost
// the same whatever the channels on the other side.
constexpr int64_t kMaxPlanarOutputs = 4, kMaxDirectInputs = 4;
constexpr int64_t kLeastMatrixInputs = 8;  // of 32 that the matrix unit multiplies at once

int64_t tiles_of(int64_t pixels, int64_t tile = winograd::kTile) {
    return (pixels + tile - 1) / tile;
}

// Products of a tile along an axis: of each share that a strided convolution is the sum of (winograd.h).
int64_t products_of(const genfuse_conv& conv, int axis, int64_t tile) {
    const int64_t taps = conv.kernel[axis];
    return conv.stride[axis] == 1 ? tile + 2 : (tile + (taps + 1) / 2 - 1) + (tile + taps / 2 - 1);
}

// Whether Winograd's products of a strided convolution, with those of tiles that jut out of the picture, are
// few enough beside the definition's: its weights are up to nine times as many, and with fewer than 16 taps
// they decide wherever there are few tiles.
bool strided_pays(const genfuse_conv& conv, int64_t out_height, int64_t out_width) {
    const bool one_tile = tiles_of(out_height) * tiles_of(out_width) == 1;
    const int64_t tile = one_tile ? winograd::kSmallTile : winograd::kTile;
    const int64_t tiles = tiles_of(out_height, tile) * tiles_of(out_width, tile);
    const int64_t taps = int64_t{conv.kernel[0]} * conv.kernel[1];
    const int64_t products = products_of(conv, 0, tile) * products_of(conv, 1, tile);
    if (taps < kManyTaps && tiles_of(out_height) * tiles_of(out_width) <= kFewTiles) return false;
    return 2 * out_height * out_width * taps >= 3 * tiles * products;
}

// Whether large tiles, with those that jut out of the picture, save a seventh of the products, and are not so
// few that one picture's weights, nearly twice as many, decide. On AVX2 many channels gain nothing to rely
// on: 0.86 to 1.2 times the speed.
bool large_pays(const genfuse_conv& conv, int64_t out_height, int64_t out_width) {
    const int64_t tiles = tiles_of(out_height) * tiles_of(out_width);
    const int64_t large =
        tiles_of(out_height, winograd::kLargeTile) * tiles_of(out_width, winograd::kLargeTile);
    const bool narrow = current_isa() == Isa::avx2;
    if (large < kFewLargeTiles || (narrow && int64_t{conv.in_channels} * conv.out_channels > kMostPairs))
        return false;
    return 7 * large * winograd::points_of(winograd::kLargeTile) <=
           6 * tiles * winograd::points_of(winograd::kTile);
}

// The kernels that a convolution has, in the order in which they are taken up.
class Ways {
  public:
    Ways(const genfuse_conv& conv, genfuse_conv* room) : conv_(conv), room_(room) {}

    void add(int32_t algorithm, int32_t product = GENFUSE_FLOAT32, int32_t tile = 0, int32_t folded = 0) {
        for (int32_t i = 0; i < count_; ++i) {
            const genfuse_conv& other = room_[i];
            if (other.algorithm == algorithm && other.product == product && other.tile == tile &&
                other.folded == folded)
                return;
        }
        room_[count_] = conv_;
        room_[count_].algorithm = algorithm;
        room_[count_].product = product;
        room_[count_].tile = tile;
        room_[count_].folded = folded;
        ++count_;
    }

    int32_t count() const { return count_; }

  private:
    const genfuse_conv& conv_;
    genfuse_conv* const room_;
    int32_t count_ = 0;
};

}  // namespace
}  // namespace genfuse

int32_t genfuse_conv_ways(const genfuse_conv* conv, int32_t dtype, int64_t height, int64_t width,
                          int32_t accuracy, int32_t plain, genfuse_conv ways[GENFUSE_CONV_MOST_WAYS]) {
    using namespace genfuse;
    const int64_t inputs = conv->in_channels / conv->groups, outputs = conv->out_channels / conv->groups;
    const bool winograd = accuracy != GENFUSE_EXACT && winograd_applies(*conv);
    const bool planar = plain && outputs <= planar::kMaxOutputs;
    const bool depthwise = plain && conv->groups > 1 && inputs <= depthwise::kMaxInputs && outputs < kBlock;
    const bool strided = !conv->transposed && conv->stride[0] * conv->stride[1] > 1;
    const bool folds = winograd && !strided && conv->upsample[0] == 2 && conv->upsample[1] == 2 &&
                       conv->padding_mode != GENFUSE_PAD_REFLECT;
    const bool pairs = dtype == GENFUSE_BFLOAT16 && current_isa() >= Isa::avx512_bf16;
    const int32_t product = pairs ? GENFUSE_BFLOAT16 : GENFUSE_FLOAT32;
    const bool close = pairs && accuracy == GENFUSE_CLOSE;
    const int32_t transformed = close ? GENFUSE_FLOAT32 : product;
    const int64_t out_height = output_size(*conv, 0, height), out_width = output_size(*conv, 1, width);
    const int64_t apart[2] = {conv->transposed ? conv->stride[0] : 1, conv->transposed ? conv->stride[1] : 1};
    const int64_t phase_height = (out_height + apart[0] - 1) / apart[0],
                  phase_width = (out_width + apart[1] - 1) / apart[1];
    // One picture's products last no longer here than their weights take to come from memory, or in training
    // to be transformed, and the smaller tile's are less than half as many bytes. Of a single row most taps
    // read the border, which direct skips.
    const bool one_tile = winograd && tiles_of(phase_height) * tiles_of(phase_width) == 1;
    const bool few_taps = strided && conv->kernel[0] * conv->kernel[1] < kManyTaps;
    const bool unpaid = winograd && ((strided && !strided_pays(*conv, out_height, out_width)) ||
                                     (close && (one_tile || few_taps)));
    const bool has_large = winograd && !strided && !conv->transposed;
    const bool large =
        has_large && transformed == GENFUSE_FLOAT32 && !folds && large_pays(*conv, out_height, out_width);
    const bool one_row = one_tile && std::min(phase_height, phase_width) == 1;

    const bool matrix = pairs && current_isa() == Isa::amx_bf16 && inputs >= kLeastMatrixInputs;

    Ways found(*conv, ways);
    if (matrix) found.add(GENFUSE_CONV_MATRIX, GENFUSE_BFLOAT16);
    if (depthwise) found.add(GENFUSE_CONV_DEPTHWISE);
    if (planar && (!winograd || unpaid || outputs <= kMaxPlanarOutputs)) found.add(GENFUSE_CONV_PLANAR);
    if (!winograd || inputs <= kMaxDirectInputs || one_row || unpaid) found.add(GENFUSE_CONV_DIRECT, product);
    if (one_tile) found.add(GENFUSE_CONV_WINOGRAD, transformed, winograd::kSmallTile);
    if (large) found.add(GENFUSE_CONV_WINOGRAD, GENFUSE_FLOAT32, winograd::kLargeTile);
    if (winograd) {
        const bool folded = folds && tiles_of(height) * tiles_of(width) >= kFoldedTiles;
        found.add(GENFUSE_CONV_WINOGRAD, transformed, winograd::kTile, folded);
        if (folds) found.add(GENFUSE_CONV_WINOGRAD, transformed, winograd::kTile, !folded);
        found.add(GENFUSE_CONV_WINOGRAD, GENFUSE_FLOAT32, winograd::kTile, folded);
        found.add(GENFUSE_CONV_WINOGRAD, transformed, winograd::kSmallTile);
        if (has_large) found.add(GENFUSE_CONV_WINOGRAD, GENFUSE_FLOAT32, winograd::kLargeTile);
    }
    found.add(GENFUSE_CONV_DIRECT, product);
    found.add(GENFUSE_CONV_DIRECT);
    if (planar) found.add(GENFUSE_CONV_PLANAR);
    return found.count();
}
