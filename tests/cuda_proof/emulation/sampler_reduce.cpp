// sampler_reduce's kernel on the host; `emulated.py` calls it.
#include <stdlib.h>

#include "instantiations.h"
#include "sampler_reduce/cuda.cu"

namespace {

template <class Stored, genfuse::Order order, class Index>
struct Kernel {
    static void run(const void* arguments) {
        genfuse::sampler_reduce<Stored, order, Index>(
            *static_cast<const genfuse::SamplerReduceArguments*>(arguments));
    }
};

// No launcher asks for this order: a reduction needs no logical index.
template <class Stored, class Index>
struct Kernel<Stored, genfuse::kChannelsLast, Index> {
    static void run(const void*) { abort(); }
};

}  // namespace

EMULATED_KERNEL(sampler_reduce, Kernel, genfuse::SamplerReduceArguments, genfuse::kReduceThreads)
