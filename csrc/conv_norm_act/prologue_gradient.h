// What the kernels of the prologue's gradient are given. With g the gradient times mask and activation's
// derivative, and the norm's result n = x·scale + offset, as in the forward, a channel's
//
//     dx = scale·g + tilt·(x − centre) + constant
//
// where the last two terms are there if the statistics are x's own. They take Σg and Σg·(x − centre) over all
// that was normalised together.
#pragma once

#include "conv_norm_act/job.h"
#include "conv_norm_act/prologue_gradient_params.h"

namespace genfuse {

struct GradientJob {
    const genfuse_prologue_gradient_args* args;
    const ConvJob* read;  // the prologue, as the forward ran it
    int64_t channels;     // x's and skip's
    bool writes;          // x's gradient, skip's
    bool total;           // with the terms of the statistics

    // Of each channel of each sample, (N, width of all blocks) with room between x's channels and skip's.
    int64_t padded;
    const float *scale, *offset;
    const float* centre;     // the mean in float32, subtracted first, that a large one cancels nothing
    float *tilt, *constant;  // where total

    const double *mean, *rstd;  // (N, C): of the set that a channel was normalised in
    double* sums;               // (N, C, 2)

    int64_t rows_a_piece;  // of a sum in float32; divides the height

    // Units of some rows of some channel blocks, or of a sample where the norm is per pixel.
    double* partial;  // (N, stretches, C, 2): sums of their rows; NULL: not wanted
    int64_t stretches, rows_a_stretch, blocks_a_unit;

    // Units of whole sets, which keep what they read until their sums are known.
    const int64_t* ends;  // of a sample: blocks up to which its units go
    int64_t parts, samples_a_set;

    // Blocks whose rows are read in turn: in channels last each pixel's lines lie together.
    int64_t blocks_together;

    float* memory;  // each slot's own
    int64_t memory_a_slot;
};

#define GENFUSE_GRADIENT_UNITS(UNIT)                                                      \
    UNIT(gradient_stretch_unit) /* n, stretch, blocks: one pass */                        \
    UNIT(gradient_set_unit)     /* samples, sets: both passes over what fits the cache */ \
    UNIT(gradient_pixel_unit)   /* n, stretch: of a norm per pixel */

#define GENFUSE_DECLARE_UNIT(name) void name(const GradientJob& job, int64_t unit, int slot);
namespace baseline {
GENFUSE_GRADIENT_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx2 {
GENFUSE_GRADIENT_UNITS(GENFUSE_DECLARE_UNIT)
}
namespace avx512 {
GENFUSE_GRADIENT_UNITS(GENFUSE_DECLARE_UNIT)
}
#undef GENFUSE_DECLARE_UNIT

constexpr int64_t kMostTogether = 8;

// 16 channels of x or of skip; blocks begin anew with skip's, that none has channels of both.
struct GradientBlock {
    const genfuse_image *from, *to, *added;
    int64_t c, own;  // the first channel, and its number in its image
    int lanes;
};

__attribute__((always_inline)) inline GradientBlock gradient_block(const GradientJob& job, int64_t block) {
    const genfuse_prologue_gradient_args& args = *job.args;
    const int64_t of_x = blocks_of(args.x.channels);
    const bool is_x = block < of_x;
    const int64_t own = (is_x ? block : block - of_x) * kBlock;
    const genfuse_image& image = is_x ? args.x : args.skip;
    const int64_t left = image.channels - own;
    return {&image,
            is_x ? &args.x_gradient : &args.skip_gradient,
            is_x ? &args.x_added : &args.skip_added,
            own + (is_x ? 0 : args.x.channels),
            own,
            static_cast<int>(left < kBlock ? left : kBlock)};
}

__attribute__((always_inline)) inline int64_t gradient_blocks(const GradientJob& job) {
    return blocks_of(job.args->x.channels) + (job.args->skip.data ? blocks_of(job.args->skip.channels) : 0);
}

// Where a sample's channel stands among those of whole blocks.
inline int64_t padded_place(const GradientJob& job, int64_t c) {
    const int64_t own = job.args->x.channels;
    return c < own ? c : c - own + padded(own);
}

// From the sums of all samples [first_n, last_n) and channels [first_c, last_c), whole sets: tilt and
// constant where they are wanted, the gradient of stats where that is.
void fold_gradient(const GradientJob& job, int64_t first_n, int64_t last_n, int64_t first_c, int64_t last_c);

// From the sums of everything: the gradients of norm and embedding.
void fold_parameter_gradients(const GradientJob& job);

}  // namespace genfuse
