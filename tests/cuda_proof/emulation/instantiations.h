// The instantiations of an op's kernel behind one C function: every dtype and order, and with 64-bit offsets
// those of float, for what an offset is does not depend on what lies there.
#pragma once

#include <stdlib.h>

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

// `stored` in the order of `cuda_kernel.STORED`; null for what is not instantiated.
template <template <class, genfuse::Order, class> class Kernel>
Run instantiation(int stored, int order, int wide) {
    if (wide) return stored == 0 ? of_order<Kernel, float, genfuse::int64>(order) : nullptr;
    switch (stored) {
        case 0:
            return of_order<Kernel, float, int>(order);
        case 1:
            return of_order<Kernel, double, int>(order);
        case 2:
            return of_order<Kernel, genfuse::bfloat16, int>(order);
        default:
            return of_order<Kernel, genfuse::float16, int>(order);
    }
}

// `block`: the threads of a block that the kernel is written for.
#define EMULATED_KERNEL(op, Kernel, Arguments, block)                                                        \
    extern "C" size_t op##_argument_bytes() {                                                                \
        return sizeof(Arguments);                                                                            \
    }                                                                                                        \
    extern "C" void op(int stored, int order, int wide, unsigned blocks, unsigned threads, int thread_order, \
                       const void* arguments, size_t shared) {                                               \
        if (threads != block) abort();                                                                       \
        emulation::launch(blocks, threads, static_cast<emulation::ThreadOrder>(thread_order),                \
                          instantiation<Kernel>(stored, order, wide), arguments, shared);                    \
    }
