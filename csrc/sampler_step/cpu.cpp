// The kernel of sampler_step; compiled once for each instruction set.
#include <float.h>
#include <math.h>

#include "common/exp2.h"
#include "common/interleave.h"
#include "common/scratch.h"
#include "common/tile.h"
#include "sampler_step/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

static_assert(normals_room(kTile) <= kTileRoom && 16 * kTileRoom * sizeof(double) <= kScratchBytes,
              "the tiles fit a thread's scratch");

template <class T>
struct TypedSum {
    int count;
    uint8_t input[kInputs];
    T coefficient[kInputs];

    explicit TypedSum(const Sum& sum) : count(sum.count) {
        for (int k = 0; k < count; ++k) {
            input[k] = sum.input[k];
            coefficient[k] = static_cast<T>(sum.coefficient[k]);
        }
    }
};

// A program in the arithmetic type.
template <class T>
struct Step {
    const Program& program;
    TypedSum<T> x0, y, s;
    T low, high, y_x0, s_x0;
    bool has_s;

    Step(const Program& p, bool writes_s)
        : program(p),
          x0(p.x0),
          y(p.y),
          s(p.s),
          low(static_cast<T>(p.low)),
          high(static_cast<T>(p.high)),
          y_x0(static_cast<T>(p.y_x0)),
          s_x0(static_cast<T>(p.s_x0)),
          has_s(writes_s) {}
};

// total[j] += Σ coefficient·input over Block vectors from element `at`; Part: one vector's first `bytes`
// bytes.
template <bool Part, class T, int Block>
GENFUSE_INLINE void accumulate(const TypedSum<T>& sum, const T* const* inputs, int64_t at, int64_t bytes,
                               vec<T> (&total)[Block]) {
    for (int k = 0; k < sum.count; ++k) {
        const vec<T> coefficient = broadcast<vec<T>>(sum.coefficient[k]);
        const T* const from = inputs[sum.input[k]] + at;
        for (int j = 0; j < Block; ++j) {
            const vec<T> value = Part ? load_part<vec<T>>(from, bytes) : load<vec<T>>(from + j * kLanes<T>);
            total[j] = fma(coefficient, value, total[j]);
        }
    }
}

template <bool Part, bool Bounded, bool HasS, int Block, class T>
GENFUSE_INLINE void combine_block(const Step<T>& step, const T* const* inputs, int64_t at, int64_t bytes,
                                  T* y, T* s) {
    using V = vec<T>;
    V to_y[Block] = {}, to_s[Block] = {};
    if (Bounded) {
        V x0[Block] = {};
        accumulate<Part>(step.x0, inputs, at, bytes, x0);
        for (int j = 0; j < Block; ++j) {
            x0[j] = clamp(x0[j], broadcast<V>(step.low), broadcast<V>(step.high));
            if (step.y_x0 != 0) to_y[j] = x0[j] * step.y_x0;
            if (HasS && step.s_x0 != 0) to_s[j] = x0[j] * step.s_x0;
        }
    }
    accumulate<Part>(step.y, inputs, at, bytes, to_y);
    if (HasS) accumulate<Part>(step.s, inputs, at, bytes, to_s);
    for (int j = 0; j < Block; ++j) {
        const int64_t to = at + j * kLanes<T>;
        if (Part) {
            store_part(y + to, to_y[j], bytes);
            if (HasS) store_part(s + to, to_s[j], bytes);
        } else {
            store(y + to, to_y[j]);
            if (HasS) store(s + to, to_s[j]);
        }
    }
}

template <bool Bounded, bool HasS, class T>
void combine(const Step<T>& step, const T* const* inputs, int64_t count, T* y, T* s) {
    constexpr int lanes = kLanes<T>, block = 4;
    int64_t i = 0;
    for (; i + block * lanes <= count; i += block * lanes) {
        combine_block<false, Bounded, HasS, block>(step, inputs, i, 0, y, s);
    }
    for (; i + lanes <= count; i += lanes) combine_block<false, Bounded, HasS, 1>(step, inputs, i, 0, y, s);
    if (i < count) {
        const int64_t bytes = (count - i) * static_cast<int64_t>(sizeof(T));
        combine_block<true, Bounded, HasS, 1>(step, inputs, i, bytes, y, s);
    }
}

template <class T>
void combine(const Step<T>& step, const T* const* inputs, int64_t count, T* y, T* s) {
    if (step.program.bounded) {
        step.has_s ? combine<true, true>(step, inputs, count, y, s)
                   : combine<true, false>(step, inputs, count, y, s);
    } else {
        step.has_s ? combine<false, true>(step, inputs, count, y, s)
                   : combine<false, false>(step, inputs, count, y, s);
    }
}

// scaled[i] = noise[i]·exp(log_std + log_std_v·variance[i])
template <class T>
void scale_noise(const Program& program, const T* noise, const T* variance, int64_t count, T* scaled) {
    const ScaledExp<T> scale(program.log_std, program.log_std_v);
    constexpr int lanes = kLanes<T>;
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        store(scaled + i, load<vec<T>>(noise + i) * scale(load<vec<T>>(variance + i)));
    }
    if (i == count) return;
    const int64_t bytes = (count - i) * static_cast<int64_t>(sizeof(T));
    store(scaled + i, load_part<vec<T>>(noise + i, bytes) * scale(load_part<vec<T>>(variance + i, bytes)));
}

// One thread's way through a range of units.
template <class Stored>
class Worker {
    using T = typename Arithmetic<Stored>::type;
    static constexpr bool kInPlace = sizeof(T) == sizeof(Stored);  // tiles may be read and written directly

  public:
    explicit Worker(const StepJob& job) : job_(job), scratch_(static_cast<T*>(thread_scratch())) {}

    void run(int64_t begin, int64_t end) {
        for (int64_t unit = begin; unit < end;) {
            const int64_t n = unit / job_.tiles;
            const int64_t last = (n + 1) * job_.tiles < end ? (n + 1) * job_.tiles : end;
            run_sample(n, unit - n * job_.tiles, last - n * job_.tiles);
            unit = last;
        }
    }

  private:
    const StepJob& job_;
    T* const scratch_;

    T* buffer(int which) const { return scratch_ + which * kTileRoom; }
    static constexpr int kVarianceBuffer = kInputs, kOutBuffer = kInputs + 1, kStoredBuffer = kInputs + 2,
                         kChannelBuffer = kInputs + 3;

    static Stored* sample(const Operand& operand, int64_t n) {
        return operand.data ? reinterpret_cast<Stored*>(operand.data) + n * operand.sample_stride : nullptr;
    }

    void run_sample(int64_t n, int64_t first_tile, int64_t last_tile) {
        Program own;
        const Program& program = *job_.program(n, &own);
        const Operand* stored = &job_.stored;
        if (!stored->data && job_.keeps_history && program.slot >= 0) stored = &job_.history[program.slot];
        const Step<T> step(program, stored->data != nullptr);
        const Stored* inputs[kInputs];
        for (int i = 0; i < kInputs; ++i) inputs[i] = sample(job_.input[i], n);
        PhiloxKey keys[2]{};
        for (int which = 0; which < 2; ++which) {
            if (!draws(program, which)) continue;
            const uint32_t row = static_cast<uint32_t>(job_.row(n) - which);
            keys[which] = PhiloxKey(static_cast<uint64_t>(job_.args->seeds[n]), row, job_.args->stream);
        }
        for (int64_t tile = first_tile; tile < last_tile; ++tile) {
            const int64_t element = tile * job_.tile;
            const int64_t count = job_.numel - element < job_.tile ? job_.numel - element : job_.tile;
            const T* tiles[kInputs];
            for (int i = 0; i < kInputs; ++i) {
                if ((program.live >> i & 1) == 0) continue;
                tiles[i] = inputs[i] ? fetch(job_.input[i], inputs[i], element, count, buffer(i))
                                     : draw(keys[i - kNoise], element, count, buffer(i));
            }
            if (program.scaled) {
                const Stored* const from = sample(job_.variance, n);
                const T* const variance = fetch(job_.variance, from, element, count, buffer(kVarianceBuffer));
                scale_noise(program, tiles[kNoise], variance, count, buffer(kNoise));
                tiles[kNoise] = buffer(kNoise);
            }
            finish(step, tiles, element, count, sample(job_.out, n), *stored, sample(*stored, n));
        }
    }

    bool draws(const Program& program, int which) const {
        return (program.live >> (kNoise + which) & 1) != 0 && !job_.input[kNoise + which].data;
    }

    // The tile's elements in the arithmetic type, where they lie if they lie so, else in `room`.
    static const T* fetch(const Operand& operand, const Stored* from, int64_t element, int64_t count,
                          T* room) {
        if (!operand.direct) {
            gather(from, operand.layout, element, count, room);
            return room;
        }
        if constexpr (kInPlace) {
            return from + element;
        } else {
            widen_run(from + element, count, room);
            return room;
        }
    }

    const T* draw(const PhiloxKey& key, int64_t element, int64_t count, T* room) const {
        const int64_t channels = job_.channels;
        if (channels == 0) return normals(room, element, count, key);
        interleaved_normals(room, buffer(kChannelBuffer), channels, job_.numel / channels, element / channels,
                            count / channels, key);
        return room;
    }

    void finish(const Step<T>& step, const T* const* tiles, int64_t element, int64_t count, Stored* out,
                const Operand& stored_operand, Stored* stored) const {
        T* y = buffer(kOutBuffer);
        T* s = buffer(kStoredBuffer);
        if constexpr (kInPlace) {
            if (job_.out.direct) y = out + element;
            if (stored && stored_operand.direct) s = stored + element;
        }
        combine(step, tiles, count, y, s);
        if (!kInPlace || !job_.out.direct) put(job_.out, y, element, count, out);
        if (stored && (!kInPlace || !stored_operand.direct)) put(stored_operand, s, element, count, stored);
    }

    static void put(const Operand& operand, const T* tile, int64_t element, int64_t count, Stored* to) {
        operand.direct ? narrow_run(tile, count, to + element)
                       : scatter(tile, operand.layout, element, count, to);
    }
};

}  // namespace

void sampler_step_units(const StepJob& job, int64_t begin, int64_t end) {
    switch (job.dtype) {
        case GENFUSE_FLOAT32:
            return Worker<float>(job).run(begin, end);
        case GENFUSE_FLOAT64:
            return Worker<double>(job).run(begin, end);
        case GENFUSE_BFLOAT16:
            return Worker<bfloat16>(job).run(begin, end);
        case GENFUSE_FLOAT16:
            return Worker<float16>(job).run(begin, end);
    }
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
