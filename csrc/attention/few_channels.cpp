// Attention of few channels a head: queries lie in a vector's lanes, so that nothing is summed across lanes
// and scores never leave the registers. A few keys at a time meet a vector of queries (Milakov & Gimelshein
// 2018, arXiv:1805.02867).
//
// Where no score can be so large that a power of it overflows, none is subtracted: half of the softmax is
// then what keeps it from overflowing.
#include "attention/job.h"
#include "attention/tokens.h"
#include "common/activation.h"
#include "common/tile.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int kQueries = kLanes<float>;
constexpr int kKeys = kVectorBytes == 64 ? 8 : 4;  // whose scores are in registers at once

constexpr float kReach = 30;  // largest score, as a power of two, that is raised as it is
// What values may be then, but zero: a sum of theirs times 2^±30 is neither infinite nor loses bits.
constexpr float kLeastValue = 0x1p-60f, kMostValue = 0x1p60f;

// The largest magnitude of each of `channels` columns of `rows` rows; NaN where one is not finite.
inline void columns_reach(const float* from, int64_t rows, int64_t pitch, int64_t channels, float* reach) {
    for (int64_t c = 0; c < channels; c += kLanes<float>) {
        f32 high = f32{}, doubts = f32{};
        for (int64_t row = 0; row < rows; ++row) {
            const f32 value = load<f32>(from + row * pitch + c);
            high = larger(magnitude(value), high);
            doubts += value * 0.0f;  // NaN where it is not finite
        }
        store(reach + c, high + doubts);
    }
}

// [key][channel], and behind all keys of the block [key][value channel]: what is broadcast lies together.
template <class Stored>
void pack_unit(const AttentionJob& job, int64_t unit) {
    const genfuse_attention_args& args = *job.args;
    const int64_t head = job.first_head + unit / job.key_blocks, n = head / args.heads;
    const int64_t first = unit % job.key_blocks * kKeysAtOnce, left = args.keys - first;
    const int64_t count = left < kKeysAtOnce ? left : kKeysAtOnce;
    float* const keys = job.packed + unit * job.packed_block();
    float* const values = keys + kKeysAtOnce * job.depth;
    const auto key = tokens_of<Stored>(args.k, n, head % args.heads, first, count, args.channels);
    const auto value = tokens_of<Stored>(args.v, n, head % args.heads, first, count, args.value_channels);
    for (int64_t c = 0; c < args.channels; c += kLanes<float>) pack_lanes(key, c, job.depth, keys + c);
    for (int64_t c = 0; c < args.value_channels; c += kLanes<float>)
        pack_lanes(value, c, job.wide, values + c);
    float* const reach = values + kKeysAtOnce * job.wide;
    float of_values[kFewChannels];
    columns_reach(values, count, job.wide, args.value_channels, of_values);
    columns_reach(keys, count, job.depth, args.channels, reach);
    for (int64_t c = 0; c < args.value_channels; ++c) {
        const bool plain = of_values[c] == 0 || (of_values[c] >= kLeastValue && of_values[c] <= kMostValue);
        if (!plain) reach[0] = __builtin_nanf("");
    }
}

// A vector of queries and what they have met so far.
struct Queries {
    f32 query[kFewChannels];  // scaled to powers of two
    f32 sums[kFewChannels];   // of weighted values
    f32 largest, weights;     // score so far; sum of the weights relative to it
};

// Scores into weights relative to the largest score so far; returns what the sums so far are multiplied by.
template <int count>
GENFUSE_INLINE f32 weigh(Queries& q, f32 (&score)[count]) {
    f32 high = q.largest;
#pragma GCC unroll 8
    for (int j = 0; j < count; ++j) high = larger(score[j], high);  // passes over a NaN, its weight shows it
    const f32 none = broadcast<f32>(-__builtin_inff());
    const f32 base = high == none ? f32{} : high;  // −∞ − −∞ would be NaN
    const f32 rescale = q.largest == high ? broadcast<f32>(1.0f) : power_of_two(q.largest - base);
    f32 weights = q.weights * rescale;
#pragma GCC unroll 8
    for (int j = 0; j < count; ++j) {
        score[j] = power_of_two(score[j] - base);
        weights += score[j];
    }
    q.weights = weights;
    q.largest = high;
    return rescale;
}

// `count` keys, up to kKeys; `near` where no score is beyond kReach.
template <bool near, int count>
GENFUSE_INLINE void meet(Queries& q, int64_t channels, int64_t value_channels, const float* keys,
                         int64_t depth, const float* values, int64_t wide) {
    f32 score[count];
#pragma GCC unroll 8
    for (int j = 0; j < count; ++j) score[j] = f32{};
    for (int64_t c = 0; c < channels; ++c) {
#pragma GCC unroll 8
        for (int j = 0; j < count; ++j) {
            score[j] = fma(broadcast<f32>(keys[j * depth + c]), q.query[c], score[j]);
        }
    }
    f32 rescale = broadcast<f32>(1.0f);
    if (near) {
#pragma GCC unroll 8
        for (int j = 0; j < count; ++j) {
            score[j] = near_power_of_two(score[j]);
            q.weights += score[j];
        }
    } else {
        rescale = weigh(q, score);
    }
    for (int64_t c = 0; c < value_channels; ++c) {
        f32 sum = near ? q.sums[c] : q.sums[c] * rescale;
#pragma GCC unroll 8
        for (int j = 0; j < count; ++j) sum = fma(score[j], broadcast<f32>(values[j * wide + c]), sum);
        q.sums[c] = sum;
    }
}

// All keys of head `place` of this launch.
template <bool near>
void meet_all(const AttentionJob& job, Queries& q, int64_t place) {
    const genfuse_attention_args& args = *job.args;
    for (int64_t block = 0; block < job.key_blocks; ++block) {
        const float* const keys = job.packed + (place * job.key_blocks + block) * job.packed_block();
        const float* const values = keys + kKeysAtOnce * job.depth;
        const int64_t rest = args.keys - block * kKeysAtOnce;
        const int64_t count = rest < kKeysAtOnce ? rest : kKeysAtOnce;
        int64_t key = 0;
        for (; key + kKeys <= count; key += kKeys) {
            meet<near, kKeys>(q, args.channels, args.value_channels, keys + key * job.depth, job.depth,
                              values + key * job.wide, job.wide);
        }
        for (; key < count; ++key) {
            meet<near, 1>(q, args.channels, args.value_channels, keys + key * job.depth, job.depth,
                          values + key * job.wide, job.wide);
        }
    }
    if (near) q.largest = f32{};  // no −∞: some key has a weight
}

// Whether all scores of all these queries are within kReach, by the sum of their largest possible terms.
bool is_near(const AttentionJob& job, const Queries& q, int64_t place) {
    f32 far = f32{};
    for (int64_t block = 1; block <= job.key_blocks; ++block) {
        const float* const end = job.packed + (place * job.key_blocks + block) * job.packed_block();
        const float* const reach = end - kFewChannels;
        f32 score = f32{};
        for (int64_t c = 0; c < job.args->channels; ++c) {
            score = fma(broadcast<f32>(reach[c]), magnitude(q.query[c]), score);
        }
        far = score <= kReach ? far : broadcast<f32>(1.0f);
    }
    return largest_of_lanes(far) == 0.0f;
}

template <class Stored>
void run_unit(const AttentionJob& job, int64_t unit) {
    const genfuse_attention_args& args = *job.args;
    const int64_t place = unit / job.units_a_head, n = (job.first_head + place) / args.heads;
    const int64_t head = (job.first_head + place) % args.heads;
    const int64_t begin = unit % job.units_a_head * job.queries_a_unit;
    const int64_t end = begin + job.queries_a_unit < args.queries ? begin + job.queries_a_unit : args.queries;
    for (int64_t first = begin; first < end; first += kQueries) {
        const int64_t rows = end - first < kQueries ? end - first : kQueries;
        const auto query = transposed(tokens_of<Stored>(args.q, n, head, first, rows, args.channels));
        Queries q;
        float packed[kFewChannels * kQueries];
        pack_lanes(query, 0, kQueries, packed);
        for (int64_t c = 0; c < args.channels; ++c) {
            q.query[c] = load<f32>(packed + c * kQueries) * (args.scale * kLog2E);
        }
        for (f32& sum : q.sums) sum = f32{};
        q.largest = broadcast<f32>(-__builtin_inff());
        q.weights = f32{};
        const bool near = is_near(job, q, place);
        near ? meet_all<true>(job, q, place) : meet_all<false>(job, q, place);
        // The definition divides 0 by 0 where every score is −∞.
        const f32 none = broadcast<f32>(-__builtin_inff());
        const f32 share = q.largest == none ? broadcast<f32>(__builtin_nanf("")) : 1.0f / q.weights;
        float out[kQueries][kFewChannels];
        for (int64_t c = 0; c < args.value_channels; ++c) {
            const f32 result = q.sums[c] * share;
            for (int row = 0; row < kQueries; ++row) out[row][c] = result[row];
        }
        for (int64_t row = 0; row < rows; ++row) {
            Stored* const to = static_cast<Stored*>(args.out.data) + n * args.out.stride_n +
                               head * args.out.stride_head + (first + row) * args.out.stride_token;
            narrow_run(out[row], args.value_channels, to);
        }
    }
}

}  // namespace

void few_channels_pack_unit(const AttentionJob& job, int64_t unit, int) {
    with_stored(job.args->dtype, [&](auto stored) { pack_unit<decltype(stored)>(job, unit); });
}

void few_channels_unit(const AttentionJob& job, int64_t unit, int) {
    with_stored(job.args->dtype, [&](auto stored) { run_unit<decltype(stored)>(job, unit); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
