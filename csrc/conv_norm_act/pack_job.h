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
    bool one_part;  // Winograd: `packed` has room for the part alone whose units run

    int64_t taps() const { return int64_t{conv->kernel[0]} * conv->kernel[1]; }
    int64_t panel() const {
        const bool on_matrix_unit = conv->algorithm == GENFUSE_CONV_MATRIX;
        return on_matrix_unit ? matrix::kPanel : panel_blocks(current_isa()) * int64_t{kBlock};
    }
    int64_t panels() const { return (padded(geometry->group_out) + panel() - 1) / panel(); }
    int64_t in_blocks() const { return blocks_of(geometry->group_in); }
    // Columns that `packed` has of each phase, where a part's begin at `first`.
    __attribute__((always_inline)) int64_t phase_columns(int64_t first) const {
        const int64_t outputs = padded(geometry->group_out),
                      left = outputs - first / winograd::kPart * winograd::kPart;
        return !one_part ? outputs : left < winograd::kPart ? left : winograd::kPart;
    }
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

#define GENFUSE_DECLARE_UNIT(name) void name(const PackJob& job, int64_t unit, int slot);
namespace baseline {
GENFUSE_PACK_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx2 {
GENFUSE_PACK_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx512 {
GENFUSE_PACK_UNITS(GENFUSE_DECLARE_UNIT)
}
#undef GENFUSE_DECLARE_UNIT

}  // namespace genfuse
