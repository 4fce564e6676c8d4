#include "conv_norm_act/geometry.h"

#include <algorithm>

namespace genfuse {
namespace {

// Taps along one axis of the output places ≡ phase modulo the step: (offset, kernel index).
std::vector<std::pair<int32_t, int32_t>> axis_taps(const genfuse_conv& conv, int axis, int32_t phase) {
    std::vector<std::pair<int32_t, int32_t>> taps;
    for (int32_t k = 0; k < conv.kernel[axis]; ++k) {
        if (conv.folded) {
            taps.emplace_back((phase + k - conv.padding[axis]) >> 1, k);  // rounded down
            continue;
        }
        if (!conv.transposed) {
            taps.emplace_back(k * conv.dilation[axis] - conv.padding[axis], k);
            continue;
        }
        // out = in·stride − padding + k·dilation, solved for in at out = phase
        const int32_t reach = phase + conv.padding[axis] - k * conv.dilation[axis];
        if (reach % conv.stride[axis] == 0) taps.emplace_back(reach / conv.stride[axis], k);
    }
    std::sort(taps.begin(), taps.end());
    return taps;
}

// Where a logical place reads: −1 for a zero.
int32_t source(int64_t place, int64_t size, int32_t mode, int32_t upsample) {
    if (place < 0 || place >= size) {
        if (mode == GENFUSE_PAD_ZEROS) return -1;
        if (mode == GENFUSE_PAD_CIRCULAR) {
            place = (place % size + size) % size;
        } else {
            place = place < 0 ? -place : 2 * (size - 1) - place;
            if (place < 0 || place >= size) return -1;  // read by tiles that jut out of the output only
        }
    }
    return static_cast<int32_t>(place / upsample);
}

}  // namespace

int64_t output_size(const genfuse_conv& conv, int axis, int64_t size) {
    const int64_t reach = static_cast<int64_t>(conv.dilation[axis]) * (conv.kernel[axis] - 1) + 1;
    if (conv.transposed) {
        return (size - 1) * conv.stride[axis] - 2 * int64_t{conv.padding[axis]} + reach +
               conv.output_padding[axis];
    }
    const int64_t room =
        size * conv.upsample[axis] + 2 * int64_t{conv.padding[axis]} + conv.extra_padding[axis] - reach;
    return room < 0 ? room : room / conv.stride[axis] + 1;
}

int64_t packed_channels(const genfuse_conv& conv) {
    if (conv.algorithm == GENFUSE_CONV_PLANAR) return conv.out_channels;
    constexpr int64_t block = GENFUSE_CHANNEL_BLOCK;
    const int64_t groups =
        conv.algorithm == GENFUSE_CONV_DEPTHWISE ? 1 : conv.groups;  // packed each for itself
    return (conv.out_channels / groups + block - 1) / block * block * groups;
}

Geometry::Geometry(const genfuse_conv& conv, int64_t height, int64_t width) {
    for (int axis = 0; axis < 2; ++axis) upsample[axis] = conv.folded ? 1 : conv.upsample[axis];
    in_height = height * upsample[0];
    in_width = width * upsample[1];
    out_height = output_size(conv, 0, height);
    out_width = output_size(conv, 1, width);
    group_in = conv.in_channels / conv.groups;
    group_out = conv.out_channels / conv.groups;
    for (int axis = 0; axis < 2; ++axis) {
        in_step[axis] = conv.transposed ? 1 : conv.stride[axis];
        out_step[axis] = conv.folded ? 2 : conv.transposed ? conv.stride[axis] : 1;
        first_tap[axis] = last_tap[axis] = 0;
    }
    int64_t packed = 0;
    bool any = false;
    for (int32_t row = 0; row < out_step[0]; ++row) {
        Pass pass{row, {}};
        const auto vertical = axis_taps(conv, 0, row);
        for (int32_t column = 0; column < out_step[1]; ++column) {
            Phase phase{column, {}, packed};
            for (const auto& y : vertical) {
                for (const auto& x : axis_taps(conv, 1, column)) {
                    phase.taps.push_back({y.first, x.first, y.second, x.second});
                    for (int axis = 0; axis < 2; ++axis) {
                        const int32_t tap = axis ? x.first : y.first;
                        first_tap[axis] = any ? std::min(first_tap[axis], tap) : tap;
                        last_tap[axis] = any ? std::max(last_tap[axis], tap) : tap;
                    }
                    any = true;
                }
            }
            packed +=
                static_cast<int64_t>(phase.taps.size()) * steps_of(conv, group_in) * packed_channels(conv);
            pass.phases.push_back(std::move(phase));
        }
        passes.push_back(std::move(pass));
    }
    const bool winograd = conv.algorithm == GENFUSE_CONV_WINOGRAD;
    const auto map = [&](int axis, int64_t size, int64_t out, int64_t* first) {
        std::vector<int32_t> sources;
        if (out <= 0 || size <= 0) return sources;
        int64_t steps = (out + out_step[axis] - 1) / out_step[axis];
        if (winograd) steps = (steps + conv.tile - 1) / conv.tile * conv.tile;
        const bool whole_window = winograd && in_step[axis] == 1;
        const int64_t taps_end = whole_window ? first_tap[axis] + 2 : last_tap[axis];
        *first = first_tap[axis];
        for (int64_t place = *first; place <= (steps - 1) * in_step[axis] + taps_end; ++place) {
            sources.push_back(source(place, size, conv.padding_mode, upsample[axis]));
        }
        return sources;
    };
    first_row = first_column = 0;
    rows = map(0, in_height, out_height, &first_row);
    columns = map(1, in_width, out_width, &first_column);
}

int64_t Geometry::most_rows() const {
    int64_t most = 0;
    for (const Pass& pass : passes) most = std::max(most, pass_rows(pass));
    return most;
}

bool winograd_applies(const genfuse_conv& conv) {
    if (conv.groups != 1) return false;
    const genfuse_conv direct = [&] {
        genfuse_conv copy = conv;
        copy.algorithm = GENFUSE_CONV_DIRECT;
        return copy;
    }();
    for (int axis = 0; axis < 2; ++axis) {
        if (conv.dilation[axis] != 1) return false;
        if (conv.transposed && conv.stride[axis] > 2) return false;
        if (conv.transposed) continue;
        const int32_t most = conv.stride[axis] == 2 ? 6 : 3;  // three taps of each row that is read
        if (conv.stride[axis] > 2 || conv.kernel[axis] < 3 || conv.kernel[axis] > most) return false;
    }
    if (!conv.transposed) return true;
    // Of a kernel narrower than three, the products of a tile would be more than the definition's.
    const Geometry geometry(direct, 8, 8);
    for (int axis = 0; axis < 2; ++axis) {
        if (conv.kernel[axis] < 3 || geometry.last_tap[axis] - geometry.first_tap[axis] > 2) return false;
    }
    return true;
}

}  // namespace genfuse
