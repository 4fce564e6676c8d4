// Sizes that the depthwise kernel, its launcher and the packing of its weights agree on.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {
namespace depthwise {

constexpr int kMaxInputs = 8;  // channels of a group

// Input channels, from the first on, that a block of output channels reads.
struct Span {
    int64_t first, channels;
};

inline Span span_of(const Geometry& geometry, int64_t out_channels, int64_t block) {
    const int64_t end = (block + 1) * kBlock < out_channels ? (block + 1) * kBlock : out_channels;
    const int64_t first = block * kBlock / geometry.group_out * geometry.group_in;
    return {first, ((end - 1) / geometry.group_out + 1) * geometry.group_in - first};
}

// Floats from one output block's packed weights of a phase to the next block's.
inline int64_t packed_block(const Geometry& geometry, const Phase& phase) {
    return static_cast<int64_t>(phase.taps.size()) * geometry.group_in * kBlock;
}

// Whether the image can be read where it lies: whole blocks of channels side by side, each a group of its
// own, with nothing to be done to a pixel before it is multiplied.
__attribute__((always_inline)) inline bool reads_in_place(const ConvJob& job) {
    const genfuse_conv_norm_act_args& args = *job.args;
    const Geometry& geometry = *job.geometry;
    const genfuse_epilogue& epilogue = args.epilogue;
    return geometry.group_in == 1 && geometry.group_out == 1 && job.out_channels % kBlock == 0 &&
           !args.conv.transposed && geometry.upsample[0] * geometry.upsample[1] == 1 &&
           reads_plain_pixels(job) && args.out.layout == GENFUSE_CHANNELS_LAST && !epilogue.residual.data &&
           epilogue.pool[0] * epilogue.pool[1] == 1 && !epilogue.stats;
}

// Sizes of a launch, and a slot's memory; without memory, how much it takes.
struct Frame {
    __attribute__((always_inline)) Frame(const ConvJob& job, float* memory) {
        const Geometry& geometry = *job.geometry;
        row_blocks = (job.rows + job.rows_a_unit - 1) / job.rows_a_unit;
        out_blocks = blocks_of(job.out_channels);
        parts = (out_blocks + job.part - 1) / job.part;
        columns = static_cast<int64_t>(geometry.columns.size());
        staged_rows =
            (job.rows_a_unit - 1) * geometry.in_step[0] + geometry.last_tap[0] - geometry.first_tap[0] + 1;
        staged_copy = staged_rows * columns * kBlock;
        int64_t span = 0;
        for (int64_t block = 0; block < out_blocks; ++block) {
            const int64_t channels = span_of(geometry, job.out_channels, block).channels;
            span = span < channels ? channels : span;
        }
        Carver carver(memory);
        staged = carver.take<float>(geometry.group_in * staged_copy);
        pixels = carver.take<float>(blocks_of(span) * columns * kBlock);
        source = carver.take<float>(job.args->width * kBlock);
        sums = carver.take<float>(2 * geometry.out_width * kBlock);  // an even row and an odd one
        offsets = carver.take<int64_t>(int64_t{job.args->conv.kernel[0]} * job.args->conv.kernel[1] *
                                       geometry.group_in);
        residual = carver.take<float>(geometry.out_width * kBlock);
        used = carver.used();
    }

    int64_t row_blocks, out_blocks, parts, columns, staged_rows, staged_copy;
    float *staged, *pixels, *source, *sums, *residual;
    int64_t* offsets;  // of a phase's taps
    size_t used;
};

}  // namespace depthwise
}  // namespace genfuse
