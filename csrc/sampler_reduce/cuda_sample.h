// One sample as a block of threads goes over it, a tile after the other.
#pragma once

#include "common/cuda/walk.h"
#include "sampler_step/cuda_row.h"

namespace genfuse {

constexpr int kReduceThreads = 512;

// As sampler_reduce/cuda_impl.py fills it, eight bytes a field.
struct SamplerReduceArguments {
    void* scales;  // (N, 2) in the arithmetic type
    Operand x, model_output, uncond;
    RowArguments row;
    Walk walk;
};

template <class Stored, Order order, class Index>
class Sample {
  public:
    using T = typename Arithmetic<Stored>::type;

    __device__ Sample(const SamplerReduceArguments& arguments, int64 which, const T* columns)
        : arguments_(arguments),
          which_(which),
          guidance_(arguments.uncond.data ? columns[GENFUSE_COLUMN_guidance] : 1) {}

    __device__ Index numel() const {
        return static_cast<Index>(arguments_.walk.channels * arguments_.walk.positions);
    }

    // Of the first element: the model output, and guided.
    __device__ void first(T* conditional, T* m) const {
        const T unconditional = guidance_ == 1 ? 0 : element(arguments_.uncond);
        *conditional = element(arguments_.model_output);
        *m = guided(guidance_, *conditional, unconditional);
    }

    // use(x, model output, guided) for each element of the thread; what is not read is 0.
    template <class Use>
    __device__ void each(bool reads_x, bool reads_conditional, bool reads_m, Use use) const {
        for (uint32 tile = 0; tile < static_cast<uint32>(arguments_.walk.tiles); ++tile) {
            const Place<order, Index> place(arguments_.walk, which_, tile, kCount);
            T x[kCount] = {}, conditional[kCount] = {}, unconditional[kCount] = {};
            if (reads_x) load<Stored>(arguments_.x, place, x);
            if (reads_conditional || (reads_m && guidance_ != 0)) {
                load<Stored>(arguments_.model_output, place, conditional);
            }
            if (reads_m && guidance_ != 1) load<Stored>(arguments_.uncond, place, unconditional);
#pragma unroll
            for (int j = 0; j < kCount; ++j) {
                if (place.first + j < place.end) {
                    use(x[j], conditional[j], guided(guidance_, conditional[j], unconditional[j]));
                }
            }
        }
    }

  private:
    static constexpr int kCount = kElements<Stored, order>;

    const SamplerReduceArguments& arguments_;
    const int64 which_;
    const T guidance_;

    __device__ T element(const Operand& operand) const {
        return widen(static_cast<const Stored*>(operand.data)[which_ * operand.batch]);
    }
};

}  // namespace genfuse
