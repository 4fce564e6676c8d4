// norm_act's kernels on the host; `emulated/conftest.py` calls them.
#include "tiled.h"
// after it
#include "norm_act/cuda.cu"
#include "norm_act/cuda_measured_act.cu"
#include "norm_act/cuda_pool_act.cu"

namespace {

const genfuse::NormActArguments& of(const void* arguments) {
    return *static_cast<const genfuse::NormActArguments*>(arguments);
}

template <class Stored, genfuse::Order order, class Index>
struct NormAct {
    static void run(const void* arguments) {
        genfuse::norm_act<false, Stored, order, Index>(of(arguments), nullptr);
    }
};

template <class Stored, genfuse::Order order, class Index>
struct MeasuredAct {
    static void run(const void* arguments) { genfuse::measured_act<Stored, order, Index>(of(arguments)); }
};

template <class Stored, genfuse::Order order, class Index>
struct PoolAct {
    static void run(const void* arguments) { genfuse::pool_act<Stored, order, Index>(of(arguments)); }
};

}  // namespace

EMULATED_TILED(norm_act, NormAct, genfuse::NormActArguments)
EMULATED_TILED(measured_act, MeasuredAct, genfuse::NormActArguments)
EMULATED_TILED(pool_act, PoolAct, genfuse::NormActArguments)
