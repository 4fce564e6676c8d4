// The kernel of sampler_reduce: a block a sample; kernels/genfuse_kernels/sampler_reduce/spec.py says what is
// computed.
#include "common/cuda/shared.h"
#include "sampler_reduce/cuda_sample.h"
#include "sampler_reduce/cuda_select.h"

namespace genfuse {

__device__ inline float root(float value) {
    return sqrtf(value);
}
__device__ inline double root(double value) {
    return sqrt(value);
}

// φ·std(conditional)/std(guided) + 1 − φ (Lin et al. 2023); the mean first, from the first element, so that
// of equal elements the deviations are exactly 0, then the squares around it.
template <class Of, class T>
__device__ T rescale_factor(const Of& sample, T phi, T* room) {
    T first, first_m, sum = 0, sum_m = 0, square = 0, square_m = 0;
    sample.first(&first, &first_m);
    sample.each(false, true, true, [&](T, T conditional, T m) {
        sum += conditional - first;
        sum_m += m - first_m;
    });
    const T count = static_cast<T>(sample.numel());
    const T mean = first + block_sum<kReduceThreads>(sum, room) / count;
    const T mean_m = first_m + block_sum<kReduceThreads>(sum_m, room) / count;
    sample.each(false, true, true, [&](T, T conditional, T m) {
        square = fused(conditional - mean, conditional - mean, square);
        square_m = fused(m - mean_m, m - mean_m, square_m);
    });
    square = block_sum<kReduceThreads>(square, room);
    square_m = block_sum<kReduceThreads>(square_m, room);
    return square_m == 0 ? 1 : fused(phi, root(square) / root(square_m), 1 - phi);
}

// The quantile of |x0|, interpolated as torch.quantile does, within [1, threshold_max].
template <class Of, class T, class Count>
__device__ T threshold_of(const Of& sample, const T* columns, T factor, Bins<Count>* bins,
                          typename Unsigned<sizeof(T)>::type* room) {
    using Bits = typename Unsigned<sizeof(T)>::type;
    const T x0_x = columns[GENFUSE_COLUMN_x0_x], x0_m = columns[GENFUSE_COLUMN_x0_m];
    const auto each = [&](auto use) {
        sample.each(x0_x != 0, false, x0_m != 0, [&](T x, T, T m) {
            const T of_x = x0_x != 0 ? x0_x * x : 0;
            use(magnitude_bits(x0_m != 0 ? fused(x0_m, m * factor, of_x) : of_x));
        });
    };
    const double at =
        static_cast<double>(columns[GENFUSE_COLUMN_quantile]) * static_cast<double>(sample.numel() - 1);
    const Count rank = static_cast<Count>(at);
    const T weight = static_cast<T>(at - static_cast<double>(rank));
    const Selected<Bits, Count> selected = select<kReduceThreads, Bits>(rank, bins, each);
    // The largest value says whether any is NaN, and stands for the next one where there is none.
    Bits most = 0, next = ~Bits(0);
    each([&](Bits bits) {
        most = bits > most ? bits : most;
        if (bits > selected.bits && bits < next) next = bits;
    });
    most = block_reduce<kReduceThreads>(most, room, [](Bits a, Bits b) { return a > b ? a : b; });
    next = block_reduce<kReduceThreads>(next, room, [](Bits a, Bits b) { return a < b ? a : b; });
    const T low = of_bits(selected.bits);
    const bool alone = selected.from_here == 1 && weight != 0 && most > selected.bits;
    const T high = alone ? of_bits(next) : low;
    // torch.lerp's two forms: with infinities they are NaN where PyTorch's is
    const T value =
        weight < static_cast<T>(0.5) ? fused(weight, high - low, low) : fused(weight - 1, high - low, high);
    const T highest = columns[GENFUSE_COLUMN_threshold_max], largest = of_bits(most);
    const T raised = value < 1 ? 1 : value;
    return largest == largest ? (raised > highest ? highest : raised) : largest;
}

template <class Stored, Order order, class Index>
__device__ void sampler_reduce(const SamplerReduceArguments& arguments) {
    using T = typename Arithmetic<Stored>::type;
    using Bits = typename Unsigned<sizeof(T)>::type;
    using Count = typename Unsigned<sizeof(Index)>::type;
    GENFUSE_SHARED(T, columns, GENFUSE_ROW);
    GENFUSE_SHARED(T, room, kMostWarps);
    GENFUSE_SHARED(Bits, bits_room, kMostWarps);
    GENFUSE_SHARED(Bins<Count>, bins, 1);
    const int64 which = blockIdx.x, index = row_index(arguments.row, which);
    T* const scales = static_cast<T*>(arguments.scales) + 2 * which;
    read_row(arguments.row, which, columns);
    __syncthreads();
    const Sample<Stored, order, Index> sample(arguments, which, columns);
    T factor = 1, threshold = static_cast<T>(__int_as_float(0x7F800000));
    if (index < 0 || index >= arguments.row.rows) {
        factor = threshold = not_a_number(T());
    } else {
        const T phi = columns[GENFUSE_COLUMN_rescale];
        if (arguments.uncond.data && phi != 0 && sample.numel() > 1)
            factor = rescale_factor(sample, phi, room);
        if (columns[GENFUSE_COLUMN_quantile] != 0) {
            threshold = threshold_of(sample, columns, factor, bins, bits_room);
        }
    }
    if (threadIdx.x == 0) {
        scales[0] = factor;
        scales[1] = threshold;
    }
}

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::kReduceThreads, 2)
    sampler_reduce(const __grid_constant__ genfuse::SamplerReduceArguments arguments) {
    using namespace genfuse;
    genfuse::sampler_reduce<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX>(arguments);
}
#endif
