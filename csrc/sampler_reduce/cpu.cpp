// The kernels of sampler_reduce; compiled once for each instruction set.
#include "common/scratch.h"
#include "common/tile.h"
#include "sampler_reduce/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Around the first element, so that equal elements have exactly that mean and no squares.
template <class T>
Moments moments_of(const T* tile, int64_t count) {
    constexpr int lanes = kLanes<T>;
    const T first = tile[0];
    vec<T> sums = {};
    T sum = 0, squares = 0;
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) sums += load<vec<T>>(tile + i) - first;
    for (int lane = 0; lane < lanes; ++lane) sum += sums[lane];
    for (; i < count; ++i) sum += tile[i] - first;
    const T mean = first + sum / static_cast<T>(count);
    vec<T> square_sums = {};
    for (i = 0; i + lanes <= count; i += lanes) {
        const vec<T> deviation = load<vec<T>>(tile + i) - mean;
        square_sums = fma(deviation, deviation, square_sums);
    }
    for (int lane = 0; lane < lanes; ++lane) squares += square_sums[lane];
    for (; i < count; ++i) squares += (tile[i] - mean) * (tile[i] - mean);
    return {static_cast<double>(mean), static_cast<double>(squares)};
}

// Reads blocks of a sample's inputs into tiles.
template <class Stored>
class Reader {
    using T = typename Arithmetic<Stored>::type;

  public:
    explicit Reader(const ReduceJob& job) : job_(job), scratch_(static_cast<T*>(thread_scratch())) {}

    T* buffer(int which) const { return scratch_ + which * kTileRoom; }

    const T* fetch(int input, int64_t n, int64_t element, int64_t count) const {
        const genfuse_sampler_reduce_args& args = *job_.args;
        const genfuse_tensor* const tensors[] = {&args.x, &args.model_output, &args.uncond};
        const genfuse_tensor& tensor = *tensors[input];
        const Stored* const sample = static_cast<const Stored*>(tensor.data) + n * tensor.stride[0];
        gather(sample, job_.layout[input], element, count, buffer(input));
        return buffer(input);
    }

    // Σ coefficient·input over a block, into `to`.
    void combine(const Sum& sum, int64_t n, int64_t element, int64_t count, T* to) const {
        for (int64_t i = 0; i < count; ++i) to[i] = 0;
        for (int k = 0; k < sum.count; ++k) {
            const T* const from = fetch(sum.input[k], n, element, count);
            const vec<T> coefficient = broadcast<vec<T>>(static_cast<T>(sum.coefficient[k]));
            for (int64_t i = 0; i < count; i += kLanes<T>) {
                store(to + i, fma(coefficient, load<vec<T>>(from + i), load<vec<T>>(to + i)));
            }
        }
    }

    template <class Use>
    void each_block(int64_t begin, int64_t end, Use use) const {
        for (int64_t unit = begin; unit < end; ++unit) {
            const int64_t n = job_.first_sample + unit / job_.blocks;
            const int64_t element = unit % job_.blocks * kReduceBlock;
            const int64_t left = job_.numel - element;
            use(unit, n, element, left < kReduceBlock ? left : kReduceBlock);
        }
    }

  private:
    const ReduceJob& job_;
    T* const scratch_;
};

constexpr int kResultBuffer = 3;

template <class Stored>
void moments_units(const ReduceJob& job, int64_t begin, int64_t end) {
    const Reader<Stored> reader(job);
    reader.each_block(begin, end, [&](int64_t unit, int64_t n, int64_t element, int64_t count) {
        const Sum& sum = job.sums[n];
        if (sum.count == 0) return;  // not asked for
        auto* const guided = reader.buffer(kResultBuffer);
        reader.combine(sum, n, element, count, guided);
        job.moments[unit].guided = moments_of(guided, count);
        job.moments[unit].conditional = moments_of(reader.fetch(kModelOutput, n, element, count), count);
    });
}

template <class Stored>
void magnitudes_units(const ReduceJob& job, int64_t begin, int64_t end) {
    using T = typename Arithmetic<Stored>::type;
    const Reader<Stored> reader(job);
    reader.each_block(begin, end, [&](int64_t, int64_t n, int64_t element, int64_t count) {
        T* const x0 = reader.buffer(kResultBuffer);
        reader.combine(job.sums[n], n, element, count, x0);
        for (int64_t i = 0; i < count; ++i)
            x0[i] = sizeof(T) == 4 ? __builtin_fabsf(x0[i]) : __builtin_fabs(x0[i]);
        T* const to = static_cast<T*>(job.magnitudes) + (n - job.first_sample) * job.numel + element;
        __builtin_memcpy(to, x0, static_cast<size_t>(count) * sizeof(T));
    });
}

}  // namespace

#define GENFUSE_BY_DTYPE(function)                      \
    switch (job.args->shape.dtype) {                    \
        case GENFUSE_FLOAT32:                           \
            return function<float>(job, begin, end);    \
        case GENFUSE_FLOAT64:                           \
            return function<double>(job, begin, end);   \
        case GENFUSE_BFLOAT16:                          \
            return function<bfloat16>(job, begin, end); \
        case GENFUSE_FLOAT16:                           \
            return function<float16>(job, begin, end);  \
    }

void sampler_moments_units(const ReduceJob& job, int64_t begin, int64_t end) {
    GENFUSE_BY_DTYPE(moments_units)
}

void sampler_magnitudes_units(const ReduceJob& job, int64_t begin, int64_t end) {
    GENFUSE_BY_DTYPE(magnitudes_units)
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
