// Weights in the order that the kernels read them, padded with zeros to whole blocks of output channels.
#include <algorithm>
#include <new>

#include "common/dispatch.h"
#include "common/message.h"
#include "conv_norm_act/check.h"
#include "conv_norm_act/pack_job.h"

namespace genfuse {
namespace {

// Element of weight, as PyTorch stores it, for output channel k and input channel c of a group.
class Weight {
  public:
    Weight(const genfuse_conv& conv, const Geometry& geometry, const genfuse_weight& weight)
        : conv_(conv), geometry_(geometry), weight_(weight) {}

    float at(int64_t group, int64_t k, int64_t c, const Tap& tap) const {
        const int64_t row =
            conv_.transposed ? group * geometry_.group_in + c : group * geometry_.group_out + k;
        const int64_t column = conv_.transposed ? k : c;
        const int64_t columns = conv_.transposed ? geometry_.group_out : geometry_.group_in;
        const int64_t place =
            ((row * columns + column) * conv_.kernel[0] + tap.kernel_y) * conv_.kernel[1] + tap.kernel_x;
        if (weight_.dtype == GENFUSE_FLOAT32) return static_cast<const float*>(weight_.data)[place];
        const uint32_t bits = uint32_t{static_cast<const uint16_t*>(weight_.data)[place]} << 16;
        float value;
        __builtin_memcpy(&value, &bits, sizeof value);
        return value;
    }

  private:
    const genfuse_conv& conv_;
    const Geometry& geometry_;
    const genfuse_weight weight_;
};

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

}  // namespace

int64_t packed_floats(const genfuse_conv& conv, const Geometry& geometry) {
    if (conv.algorithm == GENFUSE_CONV_WINOGRAD) return winograd::packed_floats(conv, geometry);
    int64_t taps = 0;
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) taps += static_cast<int64_t>(phase.taps.size());
    }
    return taps * steps_of(conv, geometry.group_in) * packed_channels(conv);
}

int64_t pack_slot_floats(const genfuse_conv& conv, const Geometry& geometry) {
    const bool in_order = conv.algorithm == GENFUSE_CONV_DEPTHWISE || conv.algorithm == GENFUSE_CONV_PLANAR;
    return in_order ? 0 : PackJob{&conv, &geometry, {}, nullptr, nullptr, 0}.slot_floats();
}

void pack_weights(const genfuse_conv& conv, const Geometry& geometry, const genfuse_weight& weight,
                  float* packed, float* memory, int64_t memory_a_slot, int threads) {
    const PackJob job{&conv, &geometry, weight, packed, memory, memory_a_slot};
    const int64_t units = job.panels() * job.in_blocks();
    const Weight weights(conv, geometry, weight);
    switch (conv.algorithm) {
        case GENFUSE_CONV_DEPTHWISE:
            return pack_depthwise(geometry, weights, conv.out_channels, packed);
        case GENFUSE_CONV_PLANAR:
            return pack_planar(geometry, weights, conv.groups, packed);
        case GENFUSE_CONV_WINOGRAD:
            return run_slots(GENFUSE_KERNEL(pack_winograd_unit), job, units, threads);
        case GENFUSE_CONV_MATRIX:
            return run_slots(GENFUSE_KERNEL(pack_matrix_unit), job, conv.groups * units, threads);
        default:
            return run_slots(GENFUSE_KERNEL(pack_direct_unit), job, conv.groups * units, threads);
    }
}

}  // namespace genfuse

using namespace genfuse;

genfuse_status genfuse_conv_packed_size(const genfuse_conv* conv, int64_t* floats, genfuse_message* message) {
    const genfuse_status status = check_conv(*conv, message);
    if (status != GENFUSE_OK) return status;
    *floats = packed_floats(*conv, Geometry(*conv, 8, 8));
    return GENFUSE_OK;
}

genfuse_status genfuse_conv_pack(const genfuse_conv* conv, const genfuse_weight* weight, float* packed,
                                 int32_t threads, genfuse_message* message) {
    genfuse_status status = check_conv(*conv, message);
    if (status == GENFUSE_OK) status = check_weight(*weight, message);
    if (status != GENFUSE_OK) return status;
    const Geometry geometry(*conv, 8, 8);
    try {
        const int64_t slot = pack_slot_floats(*conv, geometry);
        threads = std::max(1, threads);
        float* const memory =
            static_cast<float*>(thread_arena(static_cast<size_t>(slot * threads) * sizeof(float)));
        pack_weights(*conv, geometry, *weight, packed, memory, slot, threads);
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in conv_pack");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
