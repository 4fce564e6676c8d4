// A sample's row of coefficients, and the guidance that it asks for.
#pragma once

#include "common/cuda/fused.h"
#include "common/cuda/stored.h"
#include "sampler_step/columns.h"

namespace genfuse {

// Where a sample's row is found; filled by sampler_step/cuda_row.py, eight bytes a field.
struct RowArguments {
    const void* table;  // (rows, GENFUSE_ROW) float or double
    int64 table_is_double, rows;
    const int64* index;  // null: `row` for all samples
    int64 index_stride, row;
};

__device__ inline float not_a_number(float) {
    return __uint_as_float(0x7FC00000u);
}
__device__ inline double not_a_number(double) {
    return static_cast<double>(not_a_number(0.0f));
}

// The model output after classifier-free guidance (Ho & Salimans 2022). What guidance 0 or 1 leaves out has
// not been read; 0 stands apart because 0·inf is NaN.
template <class T>
__device__ T guided(T guidance, T conditional, T unconditional) {
    if (guidance == 0) return unconditional;
    return guidance == 1 ? conditional : fused(guidance, conditional - unconditional, unconditional);
}

__device__ inline int64 row_index(const RowArguments& arguments, int64 sample) {
    return arguments.index ? __ldg(arguments.index + sample * arguments.index_stride) : arguments.row;
}

// The row's columns by the first warp, NaN for a row that the table lacks: so its sample turns NaN. Read
// through the read-only path, which the kernel cards tell from images.
template <class T>
__device__ void read_row(const RowArguments& arguments, int64 sample, T* columns) {
    const uint32 lane = threadIdx.x;
    if (lane >= GENFUSE_ROW) return;
    const int64 index = row_index(arguments, sample);
    T value = not_a_number(T());
    if (index >= 0 && index < arguments.rows) {
        const int64 place = index * GENFUSE_ROW + lane;
        value = arguments.table_is_double
                    ? static_cast<T>(__ldg(static_cast<const double*>(arguments.table) + place))
                    : static_cast<T>(__ldg(static_cast<const float*>(arguments.table) + place));
    }
    columns[lane] = value;
}

}  // namespace genfuse
