// What a unit of upfirdn2d works in.
#pragma once

#include "common/arena.h"
#include "upfirdn2d/job.h"

namespace genfuse {

// A row that is summed, and its row of the filter.
template <class T>
struct UpfirdnSource {
    const T* data;
    const T* factors;
};

template <class T>
struct UpfirdnMemory {
    T* rows;      // of the input, widened; one where the filter is separable
    T* filtered;  // along x, where it is
    T* out;       // one row of the result, run by run
    T* spare;     // a row of either, in order
    UpfirdnSource<T>* sources;
};

template <class T>
__attribute__((always_inline)) inline UpfirdnMemory<T> upfirdn_memory(const UpfirdnJob& job, Carver& carver) {
    const genfuse_upfirdn2d_args& a = job.args;
    const int64_t longest = a.width > a.out_width ? a.width : a.out_width;
    UpfirdnMemory<T> memory{};
    memory.rows = carver.take<T>((a.separable ? 1 : job.input_rows) * job.row_length + kUpfirdnSlack);
    memory.filtered = carver.take<T>(a.separable ? job.input_rows * job.out_row_length : 0);
    memory.out = carver.take<T>(job.out_row_length);
    memory.spare = carver.take<T>(longest + kUpfirdnSlack);
    memory.sources = carver.take<UpfirdnSource<T>>(a.filter_height);
    return memory;
}

}  // namespace genfuse
