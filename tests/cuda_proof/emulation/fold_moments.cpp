// fold_moments' kernel on the host; `emulated.py` calls it.
#include "instantiations.h"
// after it
#include "fold_moments/cuda.cu"

namespace {

template <class Stored, genfuse::Order order, class Index>
struct Kernel {
    static void run(const void* arguments) {
        genfuse::fold_moments(*static_cast<const genfuse::FoldMomentsArguments*>(arguments));
    }
};

}  // namespace

EMULATED_KERNEL(fold_moments, Kernel, genfuse::FoldMomentsArguments, genfuse::kThreads)
