// A convolution as passes over rows of the output: the same form for strided, dilated and transposed ones.
#pragma once

#include <stdint.h>

#include <vector>

#include "conv_norm_act/params.h"

namespace genfuse {

// One weight of a kernel, by where it reads: `y`, `x` from the output pixel's place in the input. Where an
// upsampling is folded, several weights of a phase read the same pixel.
struct Tap {
    int32_t y, x;
    int32_t kernel_y, kernel_x;
};

// Output columns phase, phase + out_step, ... of a pass, and the taps they sum.
struct Phase {
    int32_t column;
    std::vector<Tap> taps;
    int64_t packed;  // where the weights of the first group begin, in floats
};

// Output rows row, row + out_step, ...
struct Pass {
    int32_t row;
    std::vector<Phase> phases;
};

// What follows from the shapes alone. Logical input rows and columns count after upsampling; the border is
// theirs too.
struct Geometry {
    Geometry(const genfuse_conv& conv, int64_t height, int64_t width);

    int32_t upsample[2];          // what the reading repeats: 1 where the upsampling is folded into phases
    int64_t in_height, in_width;  // after upsampling
    int64_t out_height, out_width;
    int32_t in_step[2];  // input rows, columns from one output pixel of a phase to the next
    int32_t
        out_step[2];  // output rows, columns likewise: the stride of a transposed convolution, 2 if folded
    std::vector<Pass> passes;
    int32_t first_tap[2], last_tap[2];  // smallest and largest Tap::y, Tap::x
    int64_t group_in, group_out;        // channels of a group

    // Source row of each logical row from first_row on, −1 in a border of zeros; columns likewise.
    int64_t first_row, first_column;
    std::vector<int32_t> rows, columns;

    int64_t pass_rows(const Pass& pass) const {
        return (out_height - pass.row + out_step[0] - 1) / out_step[0];
    }
    // Of the pass that has most.
    int64_t most_rows() const;
    int64_t phase_columns(const Phase& phase) const {
        return (out_width - phase.column + out_step[1] - 1) / out_step[1];
    }
};

// Steps of a sum over some neighbouring channels: two a step where products are of bfloat16, sixteen at once
// on the matrix unit.
inline int64_t steps_of(const genfuse_conv& conv, int64_t channels) {
    if (conv.algorithm == GENFUSE_CONV_MATRIX) return (channels + 31) / 32 * 16;
    return conv.product == GENFUSE_BFLOAT16 ? (channels + 1) / 2 : channels;
}

// Of all groups and taps.
inline int64_t weights_of(const genfuse_conv& conv) {
    return int64_t{conv.out_channels} * (conv.in_channels / conv.groups) * conv.kernel[0] * conv.kernel[1];
}

// Output size along an axis (0 height, 1 width); may be negative.
int64_t output_size(const genfuse_conv& conv, int axis, int64_t size);

// Output channels of all groups with the padding that the packed weights of the conv's algorithm have.
int64_t packed_channels(const genfuse_conv& conv);

// Whether each output pixel reads the input pixel at its place and no other.
__attribute__((always_inline)) inline bool is_pointwise(const genfuse_conv& conv) {
    for (int axis = 0; axis < 2; ++axis) {
        if (conv.kernel[axis] != 1 || conv.stride[axis] != 1 || conv.padding[axis] != 0 ||
            conv.extra_padding[axis] != 0 || conv.output_padding[axis] != 0 || conv.upsample[axis] != 1)
            return false;
    }
    return true;
}

// Whether the taps fit 3x3 windows, which Winograd needs: at stride 2, those of every second row and column.
bool winograd_applies(const genfuse_conv& conv);

}  // namespace genfuse
