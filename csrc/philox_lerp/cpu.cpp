// The kernel of philox_lerp; compiled once for each instruction set.
#include "common/list_tiles.h"
#include "common/philox.h"
#include "philox_lerp/job.h"
#include "philox_normal/params.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

static_assert(3 * kTileRoom * sizeof(double) <= kScratchBytes, "the tiles fit a thread's scratch");

// The samples' weights: one call of Philox gives those of as many samples as it has lanes.
class Weights {
  public:
    explicit Weights(const genfuse_philox_lerp_args& args)
        : key_(static_cast<uint64_t>(args.seed), 0, GENFUSE_STREAM_INTERPOLATION), first_(args.first) {}

    double of(int64_t sample) {
        if (drawn_ < 0 || sample < drawn_ || sample >= drawn_ + kPhiloxBlocks) {
            for (int lane = 0; lane < kPhiloxBlocks; ++lane) {
                key_.row[lane] = static_cast<uint64_t>(first_ + sample + lane);
            }
            const u64 block[1] = {};
            PhiloxWords words[1];
            philox(block, key_, words);
            word_ = words[0].word[0];
            drawn_ = sample;
        }
        const uint32_t word = static_cast<uint32_t>(word_[sample - drawn_]);
        return (static_cast<double>(word >> 9) + 0.5) * 0x1p-23;
    }

  private:
    PhiloxKey key_;
    const int64_t first_;
    int64_t drawn_ = -1;  // the sample of the first lane
    u64 word_{};
};

// (1 − u)·start + u·end of a run; `end` absent: factor·start. The tail runs the body's instructions.
template <bool Both, class Stored, class T>
void combine(const Stored* start, const Stored* end, T start_factor, T end_factor, int64_t count,
             Stored* out) {
    constexpr int lanes = kLanes<T>;
    const vec<T> a = broadcast<vec<T>>(start_factor), b = broadcast<vec<T>>(end_factor);
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        vec<T> made = widen(start + i) * a;
        if (Both) made = fma(widen(end + i), b, made);
        narrow(out + i, made);
    }
    if (i == count) return;
    vec<T> made = widen_last(start + i, count - i) * a;
    if (Both) made = fma(widen_last(end + i, count - i), b, made);
    narrow_last(out + i, made, count - i);
}

// Of what is given; `out` may be one of them.
template <class Stored, class T>
void lerp(const Stored* start, const Stored* end, T u, int64_t count, Stored* out) {
    const T rest = 1 - u;
    if (start && end) return combine<true>(start, end, rest, u, count, out);
    if (start) return combine<false>(start, end, rest, u, count, out);
    combine<false>(end, start, u, rest, count, out);
}

// One sample's tensors.
template <class Stored>
struct Sample {
    const Stored *start, *end;
    Stored* out;

    Sample(const genfuse_philox_lerp_args& args, int64_t n)
        : start(of(args.start, n)), end(of(args.end, n)), out(of(args.out, n)) {}

    static Stored* of(const genfuse_tensor& tensor, int64_t n) {
        return tensor.data ? static_cast<Stored*>(tensor.data) + n * tensor.stride[0] : nullptr;
    }
};

template <class T, class Stored>
const T* gathered(const Stored* sample, const Layout& layout, int64_t element, int64_t count, T* room) {
    if (!sample) return nullptr;
    gather(sample, layout, element, count, room);
    return room;
}

template <class Stored>
void lerp_units(const LerpJob& job, int64_t begin, int64_t end) {
    using T = typename Arithmetic<Stored>::type;
    T* const room = static_cast<T*>(thread_scratch());
    Weights weights(*job.args);
    for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t n = unit / job.tiles, element = (unit - n * job.tiles) * job.tile;
        const int64_t count = job.numel - element < job.tile ? job.numel - element : job.tile;
        const Sample<Stored> s(*job.args, n);
        const T u = static_cast<T>(weights.of(n));
        if (job.direct) {
            lerp(s.start ? s.start + element : nullptr, s.end ? s.end + element : nullptr, u, count,
                 s.out + element);
            continue;
        }
        const T* const start = gathered(s.start, job.start, element, count, room);
        const T* const other = gathered(s.end, job.end, element, count, room + kTileRoom);
        lerp(start, other, u, count, room + 2 * kTileRoom);
        scatter(room + 2 * kTileRoom, job.out, element, count, s.out);
    }
}

}  // namespace

void philox_lerp_units(const LerpJob& job, int64_t begin, int64_t end) {
    with_element(job.args->shape.dtype,
                 [&](auto element) { lerp_units<decltype(element)>(job, begin, end); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
