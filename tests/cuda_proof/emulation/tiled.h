// The instantiations of a kernel that walks over tiles behind one C function, as instantiations.h has them of
// others: float32 and half precision, and with 64-bit offsets float32.
#pragma once

#include "cuda.h"
// after it
#include "common/cuda/tile.h"

using Run = void (*)(const void*);

template <template <class, genfuse::Order, class> class Kernel, class Stored, class Index>
Run of_order(int order) {
    switch (order) {
        case genfuse::kRows:
            return Kernel<Stored, genfuse::kRows, Index>::run;
        case genfuse::kChannelsLast:
            return Kernel<Stored, genfuse::kChannelsLast, Index>::run;
        case genfuse::kPlanes:
            return Kernel<Stored, genfuse::kPlanes, Index>::run;
        default:
            return nullptr;
    }
}

// `stored` in the order of `cuda_kernel.STORED`; null for what is not instantiated.
template <template <class, genfuse::Order, class> class Kernel>
Run instantiation(int stored, int order, int wide) {
    if (wide) return stored == 0 ? of_order<Kernel, float, genfuse::int64>(order) : nullptr;
    switch (stored) {
        case 0:
            return of_order<Kernel, float, int>(order);
        case 2:
            return of_order<Kernel, genfuse::bfloat16, int>(order);
        case 3:
            return of_order<Kernel, genfuse::float16, int>(order);
        default:
            return nullptr;
    }
}

#define EMULATED_FUNCTION(name, Arguments, threads, of)                                                      \
    extern "C" size_t name##_argument_bytes() {                                                              \
        return sizeof(Arguments);                                                                            \
    }                                                                                                        \
    extern "C" int name##_threads() {                                                                        \
        return threads;                                                                                      \
    }                                                                                                        \
    extern "C" void name([[maybe_unused]] int stored, [[maybe_unused]] int order, [[maybe_unused]] int wide, \
                         unsigned blocks, unsigned, int thread_order, const void* arguments, size_t) {       \
        emulation::launch(blocks, threads, static_cast<emulation::ThreadOrder>(thread_order), of,            \
                          arguments);                                                                        \
    }

// A kernel template, and one that knows neither dtype nor order.
#define EMULATED_TILED(name, Kernel, Arguments) \
    EMULATED_FUNCTION(name, Arguments, genfuse::kTileThreads, instantiation<Kernel>(stored, order, wide))
#define EMULATED_PLAIN(name, run, Arguments) EMULATED_FUNCTION(name, Arguments, genfuse::kTileThreads, run)
