// philox_normal's kernel on the host; `emulated.py` calls it.
#include "instantiations.h"
#include "philox_normal/cuda.cu"

namespace {

template <class Stored, genfuse::Order order, class Index>
struct Kernel {
    static void run(const void* arguments) {
        genfuse::philox_normal<Stored, order, Index>(
            *static_cast<const genfuse::PhiloxNormalArguments*>(arguments));
    }
};

}  // namespace

EMULATED_KERNEL(philox_normal, Kernel, genfuse::PhiloxNormalArguments, genfuse::kThreads)
