// What the kernel of attention is given, and how its working memory lies.
#pragma once

#include "attention/params.h"
#include "common/arena.h"

namespace genfuse {

constexpr int64_t kKeysAtOnce =
    128;  // scores of a query that are worked on together: they stay in the L1 cache
constexpr int64_t kQueriesAUnit = 72;
constexpr int64_t kFewChannels = 16;  // of queries and of values, up to which queries lie in the lanes

struct AttentionJob {
    const genfuse_attention_args* args;
    int64_t depth, wide;  // channels of a query and of a value, padded to whole blocks of 16
    int64_t key_blocks, queries_a_unit, units_a_head;
    int64_t first_head;  // of the heads, counted through the batch, that this launch computes
    float* packed;       // their keys and values, block for block
    float* memory;       // each slot's own
    int64_t memory_a_slot;

    // Floats; the last ones are of few channels alone, how far their keys reach.
    int64_t packed_block() const { return kKeysAtOnce * (depth + wide) + kFewChannels; }
};

// A slot's memory; without memory, how much it takes.
struct AttentionFrame {
    __attribute__((always_inline)) AttentionFrame(const AttentionJob& job, float* memory) {
        const int64_t rows = job.queries_a_unit;
        Carver carver(memory);
        query = carver.take<float>(rows * job.depth);
        scores = carver.take<float>(rows * kKeysAtOnce);
        sums = carver.take<float>(rows * job.wide);
        largest = carver.take<float>(rows);
        weights = carver.take<float>(rows);
        used = carver.used();
    }

    float *query, *scores, *sums;
    float *largest, *weights;  // of each query: its largest score so far, the sum of its weights
    size_t used;
};

// Units: a block of a head's keys and values is packed; some queries of a head meet all its keys.
#define GENFUSE_DECLARE_ATTENTION(isa)                                            \
    namespace isa {                                                               \
    void attention_pack_unit(const AttentionJob& job, int64_t unit, int slot);    \
    void attention_unit(const AttentionJob& job, int64_t unit, int slot);         \
    void few_channels_pack_unit(const AttentionJob& job, int64_t unit, int slot); \
    void few_channels_unit(const AttentionJob& job, int64_t unit, int slot);      \
    }
GENFUSE_DECLARE_ATTENTION(baseline)
GENFUSE_DECLARE_ATTENTION(avx2)
GENFUSE_DECLARE_ATTENTION(avx512)
#undef GENFUSE_DECLARE_ATTENTION

}  // namespace genfuse
