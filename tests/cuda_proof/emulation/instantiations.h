// Every instantiation of an op's kernel behind one C function.
#pragma once

#include "cuda.h"
// after it
#include "common/cuda/walk.h"

using Run = void (*)(const void*);

template <template <class, genfuse::Order, class> class Kernel, class Stored, class Index>
Run of_order(int order) {
    switch (order) {
        case genfuse::kFlat:
            return Kernel<Stored, genfuse::kFlat, Index>::run;
        case genfuse::kChannelsLast:
            return Kernel<Stored, genfuse::kChannelsLast, Index>::run;
        default:
            return Kernel<Stored, genfuse::kPlanes, Index>::run;
    }
}

template <template <class, genfuse::Order, class> class Kernel, class Stored>
Run of_index(int order, int wide) {
    return wide ? of_order<Kernel, Stored, genfuse::int64>(order) : of_order<Kernel, Stored, int>(order);
}

// In the order of `cuda_kernel.STORED`.
template <template <class, genfuse::Order, class> class Kernel>
Run instantiation(int stored, int order, int wide) {
    switch (stored) {
        case 0:
            return of_index<Kernel, float>(order, wide);
        case 1:
            return of_index<Kernel, double>(order, wide);
        case 2:
            return of_index<Kernel, genfuse::bfloat16>(order, wide);
        default:
            return of_index<Kernel, genfuse::float16>(order, wide);
    }
}

#define EMULATED_KERNEL(op, Kernel, Arguments)                                                          \
    extern "C" size_t op##_argument_bytes() {                                                           \
        return sizeof(Arguments);                                                                       \
    }                                                                                                   \
    extern "C" void op(int stored, int order, int wide, unsigned blocks, int thread_order,              \
                       const void* arguments) {                                                         \
        emulation::launch(blocks, genfuse::kThreads, static_cast<emulation::ThreadOrder>(thread_order), \
                          instantiation<Kernel>(stored, order, wide), arguments);                       \
    }
