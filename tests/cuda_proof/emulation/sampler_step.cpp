// sampler_step's kernel on the host; `emulated.py` calls it.
#include "instantiations.h"
#include "sampler_step/cuda.cu"

namespace {

template <class Stored, genfuse::Order order, class Index>
struct Kernel {
    static void run(const void* arguments) {
        genfuse::sampler_step<Stored, order, Index>(
            *static_cast<const genfuse::SamplerStepArguments*>(arguments));
    }
};

}  // namespace

EMULATED_KERNEL(sampler_step, Kernel, genfuse::SamplerStepArguments, genfuse::kThreads)
