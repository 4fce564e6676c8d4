// The kernel of sampler_step; kernels/genfuse_kernels/sampler_step/spec.py says what is computed.
#include "common/cuda/normals.h"
#include "common/cuda/shared.h"
#include "sampler_step/cuda_terms.h"

namespace genfuse {

__device__ inline float exponential(float value) {
    return expf(value);
}
__device__ inline double exponential(double value) {
    return exp(value);
}

template <class Stored, Order order, class Index>
class Step : Terms<Stored, order, Index> {
    using Base = Terms<Stored, order, Index>;
    using Base::add, Base::column, Base::fetch, Base::live, Base::slot, Base::kCount;
    using Base::arguments_, Base::place_, Base::row_, Base::slot_, Base::keeps_, Base::y_, Base::s_;
    using typename Base::T, typename Base::Values;
    T* const room_;  // for normals

  public:
    __device__ Step(const SamplerStepArguments& arguments, const Place<order, Index>& place,
                    const Row<T>& row, T* room)
        : Base(arguments, place, row), room_(room) {}

    __device__ void run() {
        Values x, m;
        combine_images(x, m);
        add_history();
        add_noise(GENFUSE_COLUMN_y_noise, 0, arguments_.noise);
        add_noise(GENFUSE_COLUMN_y_noise_prev, 1, arguments_.noise_prev);
        write();
    }

  private:
    // Terms of the sample, the guided model output and x0.
    __device__ void combine_images(Values& x, Values& m) {
        const T x0_x = column(GENFUSE_COLUMN_x0_x), x0_m = column(GENFUSE_COLUMN_x0_m);
        const bool live_x0 = live(GENFUSE_COLUMN_y_x0);
        const bool live_m = live(GENFUSE_COLUMN_y_m) || (live_x0 && x0_m != 0);
        const bool guides = arguments_.uncond.data != nullptr;
        const T guidance = guides ? column(GENFUSE_COLUMN_guidance) : 1;
        Values uncond;
        fetch(arguments_.x, live(GENFUSE_COLUMN_y_x) || (live_x0 && x0_x != 0), x);
        fetch(arguments_.model_output, live_m && guidance != 0, m);
        fetch(arguments_.uncond, live_m && guidance != 1, uncond);
        const T rescale = guides && column(GENFUSE_COLUMN_rescale) != 0 ? row_.rescale : 1;
#pragma unroll
        for (int j = 0; j < kCount; ++j) m[j] = guided(guidance, m[j], uncond[j]) * rescale;
        add(GENFUSE_COLUMN_y_x, x);
        add(GENFUSE_COLUMN_y_m, m);
        if (!live_x0) return;
        Values x0 = {};
        add(x0_x, x, x0);
        add(x0_m, m, x0);
        bound(x0);
        add(GENFUSE_COLUMN_y_x0, x0);
    }

    // Clipped to the row's range or the sample's threshold; NaN stays NaN.
    __device__ void bound(Values& x0) const {
        const bool thresholds = column(GENFUSE_COLUMN_quantile) != 0;
        const T low = thresholds ? -row_.threshold : column(GENFUSE_COLUMN_clip_min);
        const T high = thresholds ? row_.threshold : column(GENFUSE_COLUMN_clip_max);
        const T scale = thresholds ? row_.inverse_threshold : 1;
#pragma unroll
        for (int j = 0; j < kCount; ++j) {
            const T raised = x0[j] < low ? low : x0[j];
            x0[j] = (raised > high ? high : raised) * scale;
        }
    }

    __device__ void add_history() {
        Values h[GENFUSE_HISTORY_SLOTS];
#pragma unroll
        for (int k = 0; k < GENFUSE_HISTORY_SLOTS; ++k) fetch(slot(k), live(GENFUSE_COLUMN_y_h0 + k), h[k]);
#pragma unroll
        for (int k = 0; k < GENFUSE_HISTORY_SLOTS; ++k) add(GENFUSE_COLUMN_y_h0 + k, h[k]);
    }

    // The given noise, else what the seed gives for the row `rows_ago` rows before.
    __device__ void add_noise(int term, int rows_ago, const Operand& given) {
        if (!live(term)) return;
        Values z;
        if (given.data || !arguments_.seeds) {
            fetch(given, true, z);
        } else {
            const PhiloxKey key{static_cast<uint64>(row_.seed), static_cast<uint32>(row_.index - rows_ago),
                                static_cast<uint32>(arguments_.stream)};
            draw(place_, key, room_, z);
        }
        const T slope = column(GENFUSE_COLUMN_log_std_v);
        if (rows_ago == 0 && slope != 0) {
            Values variance;
            fetch(arguments_.variance, true, variance);
#pragma unroll
            for (int j = 0; j < kCount; ++j) {
                z[j] *= exponential(fused(slope, variance[j], column(GENFUSE_COLUMN_log_std)));
            }
        }
        add(term, z);
    }

    // A row whose slot `history` lacks turns the sample NaN and stores nothing.
    __device__ void write() {
        if (arguments_.stored.data) {
            store<Stored>(arguments_.stored, place_, s_);
        } else if (keeps_) {
            store<Stored>(slot(static_cast<int>(slot_)), place_, s_);
        } else if (arguments_.slots > 0 && !(slot_ < static_cast<T>(arguments_.slots))) {
#pragma unroll
            for (int j = 0; j < kCount; ++j) y_[j] = not_a_number(T());
        }
        store<Stored>(arguments_.out, place_, y_);
    }
};

template <class Stored, Order order, class Index>
__device__ void sampler_step(const SamplerStepArguments& arguments) {
    using T = typename Arithmetic<Stored>::type;
    constexpr int elements = kElements<Stored, order>;
    GENFUSE_SHARED(Row<T>, row, 1);
    GENFUSE_SHARED(T, room, (kNormalsRoom<order, elements>));
    const Place<order, Index> place(arguments.walk, elements);
    row->read(arguments, place.sample);
    __syncthreads();
    Step<Stored, order, Index>(arguments, place, *row, room).run();
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kThreads)
    sampler_step(const __grid_constant__ genfuse::SamplerStepArguments arguments) {
    using namespace genfuse;
    genfuse::sampler_step<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
