// Weights in the order that the kernels read them, padded with zeros to whole blocks of output channels.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "conv_norm_act/check.h"
#include "conv_norm_act/direct.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {
namespace {

// Element of weight, as PyTorch stores it, for output channel k and input channel c of a group.
class Weight {
  public:
    Weight(const genfuse_conv& conv, const Geometry& geometry, const float* data)
        : conv_(conv), geometry_(geometry), data_(data) {}

    float at(int64_t group, int64_t k, int64_t c, const Tap& tap) const {
        const int64_t row =
            conv_.transposed ? group * geometry_.group_in + c : group * geometry_.group_out + k;
        const int64_t column = conv_.transposed ? k : c;
        const int64_t columns = conv_.transposed ? geometry_.group_out : geometry_.group_in;
        return data_[((row * columns + column) * conv_.kernel[0] + tap.kernel_y) * conv_.kernel[1] +
                     tap.kernel_x];
    }

  private:
    const genfuse_conv& conv_;
    const Geometry& geometry_;
    const float* data_;
};

uint16_t rounded_to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Packed weights from some place on: `columns` columns for each step of the sum over channels.
class Panel {
  public:
    Panel(const genfuse_conv& conv, float* to, int64_t columns)
        : pairs_(conv.product == GENFUSE_BFLOAT16), to_(to), columns_(columns) {}

    // Where there is an odd number of channels, the last pair's other half stays as it is.
    void put(int64_t channel, int64_t column, float value) const {
        if (!pairs_) {
            to_[channel * columns_ + column] = value;
            return;
        }
        const uint16_t half = rounded_to_bfloat16(value);
        char* const pair = reinterpret_cast<char*>(to_ + channel / 2 * columns_ + column);
        std::memcpy(pair + channel % 2 * sizeof half, &half, sizeof half);
    }

  private:
    bool pairs_;
    float* to_;
    int64_t columns_;
};

// Calls run(first column, columns) for the panels of `columns` output channels from `first` on.
template <class Run>
void each_panel(int64_t first, int64_t columns, Run run) {
    const int64_t widest = panel_blocks(current_isa()) * kBlock;
    for (int64_t column = 0; column < columns; column += widest) {
        run(first + column, columns - column < widest ? columns - column : widest);
    }
}

// [phase][group][panel][input block][tap][step of the block][column]
void pack_direct(const genfuse_conv& conv, const Geometry& geometry, const Weight& weight, float* packed) {
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            for (int64_t group = 0; group < conv.groups; ++group) {
                float* to = packed + phase.packed + group * direct::packed_group(conv, geometry, phase);
                each_panel(0, padded(geometry.group_out), [&](int64_t first, int64_t columns) {
                    for (int64_t block = 0; block < geometry.group_in; block += kBlock) {
                        const int64_t channels = std::min<int64_t>(kBlock, geometry.group_in - block);
                        for (const Tap& tap : phase.taps) {
                            const Panel panel(conv, to, columns);
                            for (int64_t c = 0; c < channels; ++c) {
                                for (int64_t k = first; k < first + columns && k < geometry.group_out; ++k) {
                                    panel.put(c, k - first, weight.at(group, k, block + c, tap));
                                }
                            }
                            to += steps_of(conv, channels) * columns;
                        }
                    }
                });
            }
        }
    }
}

// [phase][group][input channel][tap][output channel]
void pack_planar(const Geometry& geometry, const Weight& weight, int64_t groups, float* packed) {
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            float* to = packed + phase.packed;
            for (int64_t group = 0; group < groups; ++group) {
                for (int64_t c = 0; c < geometry.group_in; ++c) {
                    for (const Tap& tap : phase.taps) {
                        for (int64_t k = 0; k < geometry.group_out; ++k) *to++ = weight.at(group, k, c, tap);
                    }
                }
            }
        }
    }
}

// [phase][output block][input channel of the group][tap][output channel of the block]
void pack_depthwise(const Geometry& geometry, const Weight& weight, int64_t out_channels, float* packed) {
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            float* to = packed + phase.packed;
            for (int64_t block = 0; block < out_channels; block += kBlock) {
                for (int64_t c = 0; c < geometry.group_in; ++c) {
                    for (const Tap& tap : phase.taps) {
                        for (int64_t k = block; k < block + kBlock; ++k) {
                            const int64_t group = k / geometry.group_out, within = k % geometry.group_out;
                            *to++ = k < out_channels ? weight.at(group, within, c, tap) : 0.0f;
                        }
                    }
                }
            }
        }
    }
}

constexpr int kMostWindow = winograd::window_of(winograd::kLargeTile);

// G: the kernel as a polynomial at the points, divided by what Bᵀ leaves out.
void transform_kernel(int tile, const double (&g)[3], double (&to)[kMostWindow]) {
    if (tile == winograd::kSmallTile) {
        to[0] = g[0];
        to[1] = (g[0] + g[1] + g[2]) / 2;
        to[2] = (g[0] - g[1] + g[2]) / 2;
        to[3] = g[2];
        return;
    }
    if (tile == winograd::kLargeTile) {
        const double even = g[0] + g[2];
        to[0] = g[0];
        to[1] = (even + g[1]) / -4.5;
        to[2] = (even - g[1]) / -4.5;
        to[3] = (g[0] + 0.5 * g[1] + 0.25 * g[2]) * 32 / 45;
        to[4] = (g[0] - 0.5 * g[1] + 0.25 * g[2]) * 32 / 45;
        to[5] = (g[0] + 2 * g[1] + 4 * g[2]) / 90;
        to[6] = (g[0] - 2 * g[1] + 4 * g[2]) / 90;
        to[7] = g[2];
        return;
    }
    const double a = std::sqrt(0.5), b = std::sqrt(2.0);
    to[0] = g[0];
    to[1] = (g[0] + a * g[1] + 0.5 * g[2]) / -1.5;
    to[2] = (g[0] - a * g[1] + 0.5 * g[2]) / -1.5;
    to[3] = (g[0] + b * g[1] + 2.0 * g[2]) / 6;
    to[4] = (g[0] - b * g[1] + 2.0 * g[2]) / 6;
    to[5] = g[2];
}

using Transformed = double[kMostWindow][kMostWindow];

void transform_taps(int tile, const Geometry& geometry, const Phase& phase, int number, const Weight& weight,
                    int64_t k, int64_t c, Transformed& to) {
    const int32_t* const step = geometry.in_step;
    const winograd::Share down = winograd::share_of(geometry, 0, number / step[1]);
    const winograd::Share right = winograd::share_of(geometry, 1, number % step[1]);
    double taps[3][3] = {};
    for (const Tap& tap : phase.taps) {
        const int y = tap.y - geometry.first_tap[0], x = tap.x - geometry.first_tap[1];
        if (y % step[0] != down.remainder || x % step[1] != right.remainder) continue;
        taps[y / step[0] + down.place][x / step[1] + right.place] += weight.at(0, k, c, tap);
    }
    const int window = winograd::window_of(tile);
    double rows[3][kMostWindow];
    for (int i = 0; i < 3; ++i) transform_kernel(tile, taps[i], rows[i]);
    for (int j = 0; j < window; ++j) {
        const double column[3] = {rows[0][j], rows[1][j], rows[2][j]};
        double transformed[kMostWindow];
        transform_kernel(tile, column, transformed);
        for (int i = 0; i < window; ++i) to[i][j] = transformed[i];
    }
}

// [phase][part][point][panel][share][step of the sum over input channels][column], of the products that the
// phase needs
void pack_winograd(const genfuse_conv& conv, const Geometry& geometry, const Weight& weight, float* packed) {
    const int64_t depth = steps_of(conv, geometry.group_in), out_channels = padded(geometry.group_out);
    const int window = winograd::window_of(conv.tile), points = winograd::points_of(conv.tile);
    const int shares = winograd::shares(geometry);
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            winograd::Live live;
            live.find(geometry, phase, conv.tile);
            for (int64_t part = 0; part < out_channels; part += winograd::kPart) {
                const int64_t width = std::min<int64_t>(winograd::kPart, out_channels - part);
                each_panel(part, width, [&](int64_t first, int64_t columns) {
                    const auto put = [&](int64_t c, int64_t k, int share, const Transformed& transformed) {
                        int64_t before = 0;  // products in front of the share's
                        for (int point = 0; point < points; ++point) {
                            const int64_t alive = live.at(point);
                            if (live.of_share[share] >> point & 1) {
                                const int64_t within = live.at(point, share);
                                const Panel panel(
                                    conv,
                                    packed +
                                        (before * width + (first - part) * alive + within * columns) * depth,
                                    columns);
                                panel.put(c, k - first,
                                          static_cast<float>(transformed[point / window][point % window]));
                            }
                            before += alive;
                        }
                    };
                    for (int share = 0; share < shares; ++share) {
                        for (int64_t c = 0; c < geometry.group_in; ++c) {
                            for (int64_t k = first; k < first + columns && k < geometry.group_out; ++k) {
                                Transformed transformed;
                                transform_taps(conv.tile, geometry, phase, share, weight, k, c, transformed);
                                put(c, k, share, transformed);
                            }
                        }
                    }
                });
                packed += live.products() * depth * width;
            }
        }
    }
}

}  // namespace
}  // namespace genfuse

using namespace genfuse;

genfuse_status genfuse_conv_packed_size(const genfuse_conv* conv, int64_t* floats, genfuse_message* message) {
    const genfuse_status status = check_conv(*conv, message);
    if (status != GENFUSE_OK) return status;
    const Geometry geometry(*conv, 8, 8);
    int64_t taps = 0;
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) {
            taps += static_cast<int64_t>(phase.taps.size());
        }
    }
    const int64_t products = steps_of(*conv, geometry.group_in) * packed_channels(*conv);
    *floats =
        conv->algorithm == GENFUSE_CONV_WINOGRAD ? winograd::packed_floats(*conv, geometry) : products * taps;
    return GENFUSE_OK;
}

genfuse_status genfuse_conv_pack(const genfuse_conv* conv, const float* weight, float* packed,
                                 genfuse_message* message) {
    const genfuse_status status = check_conv(*conv, message);
    if (status != GENFUSE_OK) return status;
    const Geometry geometry(*conv, 8, 8);
    const Weight weights(*conv, geometry, weight);
    int64_t floats = 0;
    if (genfuse_conv_packed_size(conv, &floats, message) == GENFUSE_OK) std::fill_n(packed, floats, 0.0f);
    if (conv->algorithm == GENFUSE_CONV_WINOGRAD) {
        pack_winograd(*conv, geometry, weights, packed);
    } else if (conv->algorithm == GENFUSE_CONV_DEPTHWISE) {
        pack_depthwise(geometry, weights, conv->out_channels, packed);
    } else if (conv->algorithm == GENFUSE_CONV_PLANAR) {
        pack_planar(geometry, weights, conv->groups, packed);
    } else {
        pack_direct(*conv, geometry, weights, packed);
    }
    return GENFUSE_OK;
}
