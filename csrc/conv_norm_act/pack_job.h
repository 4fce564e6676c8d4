// What the kernels that pack weights are given: one convolution's weights and where they go.
#pragma once

#include "conv_norm_act/matrix.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {

struct PackJob {
    const genfuse_conv* conv;
    const Geometry* geometry;
    genfuse_weight weight;
    float* packed;
    float* memory;  // each slot's own
    int64_t memory_a_slot;

    int64_t taps() const { return int64_t{conv->kernel[0]} * conv->kernel[1]; }
    int64_t panel() const {
        const bool on_matrix_unit = conv->algorithm == GENFUSE_CONV_MATRIX;
        return on_matrix_unit ? matrix::kPanel : panel_blocks(current_isa()) * int64_t{kBlock};
    }
    int64_t panels() const { return (padded(geometry->group_out) + panel() - 1) / panel(); }
    int64_t in_blocks() const { return blocks_of(geometry->group_in); }
    // Floats of a block of input channels times one of output channels.
    int64_t block_floats() const { return taps() * kBlock * kBlock; }
    // Of a slot's memory: the blocks of a panel.
    int64_t slot_floats() const { return panel() / kBlock * block_floats(); }
};

// Of all weights once packed.
int64_t packed_floats(const genfuse_conv& conv, const Geometry& geometry);

// Of a slot's memory.
int64_t pack_slot_floats(const genfuse_conv& conv, const Geometry& geometry);

// Of all weights, into `packed`, on slots' memory of pack_slot_floats.
void pack_weights(const genfuse_conv& conv, const Geometry& geometry, const genfuse_weight& weight,
                  float* packed, float* memory, int64_t memory_a_slot, int threads);

// Units: of direct's and matrix's, (group, panel, input block); of Winograd's, (panel, input block).
#define GENFUSE_PACK_UNITS(UNIT) \
    UNIT(pack_direct_unit)       \
    UNIT(pack_matrix_unit)       \
    UNIT(pack_winograd_unit)

// And Winograd's in two steps, for a unit that packs what it multiplies: the weights of a part of the output
// channels, as kernels[input block][block][channel][tap][16]; and of them those of one phase and slice,
// transformed, as packed[point][panel][step][column], of the points that the slice's share needs.
#define GENFUSE_DECLARE_UNIT(name) void name(const PackJob& job, int64_t unit, int slot);
#define GENFUSE_DECLARE_PACK                                                                                 \
    GENFUSE_PACK_UNITS(GENFUSE_DECLARE_UNIT)                                                                 \
    void load_winograd_part(const PackJob& job, int64_t part, float* kernels);                               \
    void pack_winograd_slice(const PackJob& job, int64_t part, const Phase& phase,                           \
                             const winograd::Live& live, const winograd::Slice& slice, const float* kernels, \
                             float* packed);
namespace baseline {
GENFUSE_DECLARE_PACK
}
namespace avx2 {
GENFUSE_DECLARE_PACK
}
namespace avx512 {
GENFUSE_DECLARE_PACK
}
#undef GENFUSE_DECLARE_PACK
#undef GENFUSE_DECLARE_UNIT

}  // namespace genfuse
