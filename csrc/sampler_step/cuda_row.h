// A sample's row of coefficients in shared memory, and what else its threads have in common.
#pragma once

#include "common/cuda/walk.h"
#include "sampler_step/columns.h"

namespace genfuse {

// As sampler_step/cuda_impl.py fills it, eight bytes a field.
struct SamplerStepArguments {
    Operand out, stored, x, model_output, uncond, variance, noise, noise_prev;
    Operand history;  // its first slot; `slots` of them, `slot_stride` apart
    int64 slots, slot_stride;
    const void* table;  // (rows, GENFUSE_ROW) float or double
    int64 table_is_double, rows;
    const int64* index;  // null: `row` for all samples
    int64 index_stride, row;
    const int64* seeds;  // may be null, as may be scales
    int64 seeds_stride, stream;
    const void* scales;  // (N, 2) in the arithmetic type
    Walk walk;
};

template <class T>
struct Row {
    T column[GENFUSE_ROW];
    T rescale, threshold, inverse_threshold;
    int64 index, seed;
};

__device__ inline float not_a_number(float) {
    return __uint_as_float(0x7FC00000u);
}
__device__ inline double not_a_number(double) {
    return static_cast<double>(not_a_number(0.0f));
}

// By the first warp; NaN for a row that the table lacks, so that the sample turns NaN, and for absent scales.
// Read through the read-only path, which the kernel cards tell from images.
template <class T>
__device__ void read_row(const SamplerStepArguments& arguments, int64 sample, Row<T>* row) {
    const uint32 lane = threadIdx.x;
    if (lane >= GENFUSE_ROW) return;
    const int64 index =
        arguments.index ? __ldg(arguments.index + sample * arguments.index_stride) : arguments.row;
    T value = not_a_number(T());
    if (index >= 0 && index < arguments.rows) {
        const int64 place = index * GENFUSE_ROW + lane;
        value = arguments.table_is_double
                    ? static_cast<T>(__ldg(static_cast<const double*>(arguments.table) + place))
                    : static_cast<T>(__ldg(static_cast<const float*>(arguments.table) + place));
    }
    row->column[lane] = value;
    if (lane != 0) return;
    const T* const scales = static_cast<const T*>(arguments.scales);
    row->rescale = scales ? __ldg(scales + 2 * sample) : not_a_number(T());
    row->threshold = scales ? __ldg(scales + 2 * sample + 1) : not_a_number(T());
    row->inverse_threshold = 1 / row->threshold;
    row->index = index;
    row->seed = arguments.seeds ? __ldg(arguments.seeds + sample * arguments.seeds_stride) : 0;
}

}  // namespace genfuse
