// A unit by every instruction set beside its definition in double; returns the number of wrong ones. For
// machines and compilers without PyTorch: tests/csrc/arm.sh.
#include <cmath>
#include <cstdio>
#include <vector>

#include "common/cpuid.h"
#include "conv_norm_act/params.h"

using Floats = std::vector<float>;
constexpr int64_t kChannels = 37, kOutputs = 21, kSize = 9;

static double activated(const Floats& x, int64_t c, int64_t row, int64_t column) {
    double mean = 0, square = 0;  // of instance norm
    const float* const plane = x.data() + c * kSize * kSize;
    for (int64_t i = 0; i < kSize * kSize; ++i) mean += plane[i] / double(kSize * kSize);
    for (int64_t i = 0; i < kSize * kSize; ++i) square += (plane[i] - mean) * (plane[i] - mean);
    const double h = (plane[row * kSize + column] - mean) / std::sqrt(square / double(kSize * kSize) + 1e-5);
    return h / (1 + std::exp(-h));
}

static double worst_error(bool exact) {
    Floats x(kChannels * kSize * kSize), weight(kOutputs * kChannels * 9), out(kOutputs * kSize * kSize);
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(std::sin(0.7 * double(i)) + 0.2);
    for (size_t i = 0; i < weight.size(); ++i) weight[i] = float(std::cos(1.3 * double(i)) / 18);
    genfuse_conv_norm_act_args args{};
    args.conv.in_channels = kChannels, args.conv.out_channels = kOutputs;
    args.conv.groups = 1;
    for (int axis = 0; axis < 2; ++axis) {
        args.conv.kernel[axis] = 3;
        args.conv.upsample[axis] = args.epilogue.pool[axis] = 1;
        args.conv.stride[axis] = args.conv.padding[axis] = args.conv.dilation[axis] = 1;
    }
    genfuse_conv ways[GENFUSE_CONV_MOST_WAYS];
    genfuse_conv_ways(&args.conv, GENFUSE_FLOAT32, kSize, kSize, exact, true, ways);
    args.conv = ways[0];
    genfuse_message message{};
    int64_t floats = 0;
    if (genfuse_conv_packed_size(&args.conv, &floats, &message) != GENFUSE_OK) return INFINITY;
    Floats packed(static_cast<size_t>(floats));
    const genfuse_weight given{weight.data(), GENFUSE_FLOAT32};
    if (genfuse_conv_pack(&args.conv, &given, packed.data(), 1, &message) != GENFUSE_OK) return INFINITY;
    args.threads = 2, args.batch = 1, args.height = args.width = kSize;
    args.x = {x.data(), GENFUSE_PLANAR, kChannels, 0, kSize * kSize, kSize, 1};
    args.out = {out.data(), GENFUSE_PLANAR, kOutputs, 0, kSize * kSize, kSize, 1};
    args.prologue.kind = GENFUSE_NORM_GROUP, args.prologue.groups = kChannels, args.prologue.centred = 1;
    args.prologue.activation = GENFUSE_SILU, args.prologue.eps = 1e-5;
    args.packed = packed.data();
    args.epilogue.scale = 1;
    if (genfuse_conv_norm_act(&args, &message) != GENFUSE_OK) {
        std::puts(message.text);
        return INFINITY;
    }
    double worst = 0;
    for (int64_t k = 0; k < kOutputs; ++k) {
        for (int64_t place = 0; place < kSize * kSize; ++place) {
            double sum = 0;
            for (int64_t c = 0; c < kChannels; ++c) {
                for (int64_t tap = 0; tap < 9; ++tap) {
                    const int64_t row = place / kSize + tap / 3 - 1, column = place % kSize + tap % 3 - 1;
                    if (row < 0 || row >= kSize || column < 0 || column >= kSize) continue;
                    sum += activated(x, c, row, column) * weight[size_t((k * kChannels + c) * 9 + tap)];
                }
            }
            worst = std::fmax(worst, std::fabs(sum - out[size_t(k * kSize * kSize + place)]));
        }
    }
    return worst;
}

int main() {
    int wrong = 0;
    for (int isa = 0; isa < genfuse::kIsas; ++isa) {
        if (!genfuse::set_isa(static_cast<genfuse::Isa>(isa))) continue;
        for (int exact = 0; exact < 2; ++exact) {
            const double error = worst_error(exact == 1);
            wrong += !(error < 1e-5);
            std::printf("%s, %s: largest error %.1e\n", genfuse::isa_name(static_cast<genfuse::Isa>(isa)),
                        exact ? "direct" : "winograd", error);
        }
    }
    return wrong;
}
