// The kernel of philox_normal; kernels/genfuse_kernels/philox_normal/spec.py says what is drawn.
#include "common/cuda/normals.h"
#include "common/cuda/shared.h"

namespace genfuse {

// As philox_normal/cuda_impl.py fills it, eight bytes a field.
struct PhiloxNormalArguments {
    Operand out;
    const int64* seeds;
    int64 seeds_stride;
    const int64* rows;  // null: `row` for all samples
    int64 rows_stride;
    int64 row;
    int64 stream;
    Walk walk;
};

template <class Stored, Order order, class Index>
__device__ void philox_normal(const PhiloxNormalArguments& arguments) {
    using T = typename Arithmetic<Stored>::type;
    constexpr int elements = kElements<Stored, order>;
    GENFUSE_SHARED(T, room, (kNormalsRoom<order, elements>));
    const Place<order, Index> place(arguments.walk, elements);
    const int64 row =
        arguments.rows ? __ldg(arguments.rows + place.sample * arguments.rows_stride) : arguments.row;
    const PhiloxKey key{static_cast<uint64>(__ldg(arguments.seeds + place.sample * arguments.seeds_stride)),
                        static_cast<uint32>(row), static_cast<uint32>(arguments.stream)};
    T normal[elements];
    draw(place, key, room, normal);
    store<Stored>(arguments.out, place, normal);
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kThreads)
    philox_normal(const __grid_constant__ genfuse::PhiloxNormalArguments arguments) {
    using namespace genfuse;
    genfuse::philox_normal<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
