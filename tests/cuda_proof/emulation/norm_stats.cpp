// norm_stats' kernels on the host; `emulated/conftest.py` calls them.
#include "tiled.h"
// after it
#include "norm_stats/cuda.cu"
#include "norm_stats/cuda_fold_moments.cu"

namespace {

template <class Stored, genfuse::Order order, class Index>
struct Kernel {
    static void run(const void* arguments) {
        genfuse::norm_stats<Stored, order, Index>(
            *static_cast<const genfuse::NormStatsArguments*>(arguments));
    }
};

void run_fold(const void* arguments) {
    genfuse::fold_moments(*static_cast<const genfuse::FoldMomentsArguments*>(arguments));
}

}  // namespace

EMULATED_TILED(norm_stats, Kernel, genfuse::NormStatsArguments)
EMULATED_PLAIN(fold_moments, run_fold, genfuse::FoldMomentsArguments)
