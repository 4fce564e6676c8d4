// One thread's share of a step: the next sample and what is stored, as sums of the row's terms.
#pragma once

#include "common/cuda/walk.h"
#include "sampler_step/cuda_row.h"

namespace genfuse {

// As sampler_step/cuda_impl.py fills it, eight bytes a field.
struct SamplerStepArguments {
    Operand out, stored, x, model_output, uncond, variance, noise, noise_prev;
    Operand history;  // its first slot; `slots` of them, `slot_stride` apart
    int64 slots, slot_stride;
    RowArguments row;
    const int64* seeds;  // may be null, as may be scales
    int64 seeds_stride, stream;
    const void* scales;  // (N, 2) in the arithmetic type
    Walk walk;
};

// What the threads of a sample have in common; NaN for absent scales.
template <class T>
struct Row {
    T column[GENFUSE_ROW];
    T rescale, threshold, inverse_threshold;
    int64 index, seed;

    __device__ void read(const SamplerStepArguments& arguments, int64 sample) {
        read_row(arguments.row, sample, column);
        if (threadIdx.x != 0) return;
        const T* const scales = static_cast<const T*>(arguments.scales);
        rescale = scales ? __ldg(scales + 2 * sample) : not_a_number(T());
        threshold = scales ? __ldg(scales + 2 * sample + 1) : not_a_number(T());
        inverse_threshold = 1 / threshold;
        index = row_index(arguments.row, sample);
        seed = arguments.seeds ? __ldg(arguments.seeds + sample * arguments.seeds_stride) : 0;
    }
};

// Whether a term is live is the same for all threads of a block.
template <class Stored, Order order, class Index>
class Terms {
  protected:
    using T = typename Arithmetic<Stored>::type;
    static constexpr int kCount = kElements<Stored, order>;
    using Values = T[kCount];

    const SamplerStepArguments& arguments_;
    const Place<order, Index>& place_;
    const Row<T>& row_;
    const T slot_;      // of the history, that the row stores in
    const bool keeps_;  // whether what is stored goes anywhere
    Values y_ = {}, s_ = {};

    __device__ Terms(const SamplerStepArguments& arguments, const Place<order, Index>& place,
                     const Row<T>& row)
        : arguments_(arguments),
          place_(place),
          row_(row),
          slot_(row.column[GENFUSE_COLUMN_store]),
          keeps_(arguments.stored.data || (slot_ >= 0 && slot_ < static_cast<T>(arguments.slots))) {}

    __device__ T column(int which) const { return row_.column[which]; }
    __device__ T of_stored(int term) const {
        return keeps_ ? column(term + GENFUSE_COLUMN_s_x - GENFUSE_COLUMN_y_x) : 0;
    }
    __device__ bool live(int term) const { return column(term) != 0 || of_stored(term) != 0; }

    // A zero coefficient adds nothing, even to an infinite value.
    __device__ static void add(T coefficient, const Values& value, Values& total) {
        if (coefficient == 0) return;
#pragma unroll
        for (int j = 0; j < kCount; ++j) total[j] = fused(coefficient, value[j], total[j]);
    }
    __device__ void add(int term, const Values& value) {
        add(column(term), value, y_);
        add(of_stored(term), value, s_);
    }

    // Zeros where not `live`, and nothing is read; NaN where live and absent.
    __device__ void fetch(const Operand& operand, bool live, Values& value) const {
        const bool given = operand.data != nullptr;
#pragma unroll
        for (int j = 0; j < kCount; ++j) value[j] = live && !given ? not_a_number(T()) : 0;
        if (live && given) load<Stored>(operand, place_, value);
    }

    __device__ Operand slot(int k) const {
        Operand operand = arguments_.history;
        const bool there = operand.data && k < arguments_.slots;
        operand.data = there ? static_cast<Stored*>(operand.data) + k * arguments_.slot_stride : nullptr;
        return operand;
    }
};

}  // namespace genfuse
