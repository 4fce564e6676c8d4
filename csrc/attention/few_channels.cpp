// Attention of few channels a head: queries lie in a vector's lanes, so that nothing is summed across lanes
// and scores never leave the registers. A few keys at a time meet a vector of queries (Milakov & Gimelshein
// 2018, arXiv:1805.02867).
#include "attention/job.h"
#include "attention/tokens.h"
#include "common/tile.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int kQueries = kLanes<float>;
constexpr int kKeys = kVectorBytes == 64 ? 8 : 4;  // whose scores are in registers at once

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
}

// A vector of queries and what they have met so far.
struct Queries {
    f32 query[kFewChannels];  // scaled to powers of two
    f32 sums[kFewChannels];   // of weighted values
    f32 largest, weights;     // score so far; sum of the weights relative to it
};

// `count` keys, up to kKeys.
template <int count>
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
    for (int64_t c = 0; c < value_channels; ++c) {
        f32 sum = q.sums[c] * rescale;
#pragma GCC unroll 8
        for (int j = 0; j < count; ++j) sum = fma(score[j], broadcast<f32>(values[j * wide + c]), sum);
        q.sums[c] = sum;
    }
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
        for (int64_t block = 0; block < job.key_blocks; ++block) {
            const float* const keys = job.packed + (place * job.key_blocks + block) * job.packed_block();
            const float* const values = keys + kKeysAtOnce * job.depth;
            const int64_t rest = args.keys - block * kKeysAtOnce;
            const int64_t count = rest < kKeysAtOnce ? rest : kKeysAtOnce;
            int64_t key = 0;
            for (; key + kKeys <= count; key += kKeys) {
                meet<kKeys>(q, args.channels, args.value_channels, keys + key * job.depth, job.depth,
                            values + key * job.wide, job.wide);
            }
            for (; key < count; ++key) {
                meet<1>(q, args.channels, args.value_channels, keys + key * job.depth, job.depth,
                        values + key * job.wide, job.wide);
            }
        }
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
