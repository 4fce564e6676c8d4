// Attention without its matrix of scores: some queries meet the keys a block at a time, and the sums so far
// are rescaled where a larger score turns up (Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022,
// arXiv:2205.14135).
#include "attention/job.h"
#include "attention/tokens.h"
#include "common/gemm.h"
#include "common/tile.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int64_t kPanel = kPanelBlocks * 16;  // columns
// Rows by a panel's columns: to[row·pitch + column] += Σ from[row·from_pitch + k]·panels(k, column), or =
// where `fresh`.
struct Product {
    const float* from;
    int64_t from_pitch, rows, length;
    const float* panels;
    int64_t columns;
    float* to;
    int64_t pitch;
    bool fresh;

    void run() const {
        constexpr int64_t kFits = 4096;  // floats of panels that all rows may pass over, a few rows at a time
        if (columns <= kNarrowColumns) {
            run_narrow();
        } else if (length * columns <= kFits) {
            for (int64_t row = 0; row < rows; row += kRowsAtOnce)
                run_part(row, row + kRowsAtOnce, 0, columns);
        } else {
            for (int64_t c = 0; c < columns; c += kPanel) run_part(0, rows, c, c + kPanel);
        }
    }

  private:
    void place(int64_t row, int count, const float** at, float** sums) const {
        for (int i = 0; i < count; ++i) {
            at[i] = from + (row + i) * from_pitch;
            sums[i] = to + (row + i) * pitch;
        }
    }

    int count_from(int64_t row, int64_t stop, int at_once) const {
        const int64_t left = (stop < rows ? stop : rows) - row;
        return static_cast<int>(left < at_once ? left : at_once);
    }

    void run_part(int64_t first_row, int64_t stop_row, int64_t first, int64_t stop) const {
        const int64_t zero = 0;
        const Stretches stretches{&zero, 1, length};
        for (int64_t row = first_row; row < stop_row && row < rows; row += kRowsAtOnce) {
            const float* at[kRowsAtOnce];
            float* sums[kRowsAtOnce];
            const int count = count_from(row, stop_row, kRowsAtOnce);
            place(row, count, at, sums);
            for (int i = 0; i < count; ++i) sums[i] += first;
            for (int64_t column = first; column < stop && column < columns; column += kPanel) {
                const int64_t left = (columns - column + 15) / 16;
                const int blocks = static_cast<int>(left < kPanelBlocks ? left : kPanelBlocks);
                multiply_for(count, blocks)(at, stretches, panels + length * column, sums, 16, fresh);
                for (int i = 0; i < count; ++i) sums[i] += kPanel;
            }
        }
    }

    void run_narrow() const {
        const int64_t zero = 0;
        const Stretches stretches{&zero, 1, length};
        for (int64_t row = 0; row < rows; row += kNarrowRows) {
            const float* at[kNarrowRows];
            float* sums[kNarrowRows];
            const int count = count_from(row, rows, kNarrowRows);
            place(row, count, at, sums);
            multiply_narrow_for(count)(at, stretches, panels, sums, 16, fresh);
        }
    }
};

// A panel's width where it has so many columns in all.
int64_t block_for(int64_t columns) {
    return columns <= kNarrowColumns ? kNarrowColumns : 16;
}

// In place: a query's scores into weights relative to its largest score so far; returns what the sums so far
// must be multiplied by. Behind `count` scores there is room for whole vectors.
float weigh(float* scores, int64_t count, float* largest, float* weights) {
    constexpr int lanes = kLanes<float>;
    const int64_t room = (count + lanes - 1) / lanes * lanes;
    for (int64_t i = count; i < room; ++i) scores[i] = -__builtin_inff();
    f32 high = broadcast<f32>(*largest);
    for (int64_t i = 0; i < room; i += lanes) {
        high = larger(load<f32>(scores + i), high);  // passes over a NaN, which its own weight will show
    }
    const float top = largest_of_lanes(high);
    const f32 base = broadcast<f32>(top == -__builtin_inff() ? 0.0f : top);  // −∞ − −∞ would be NaN
    f32 sum = {};
    for (int64_t i = 0; i < room; i += lanes) {
        const f32 weight = power_of_two(load<f32>(scores + i) - base);
        store(scores + i, weight);
        sum += weight;
    }
    const float rescale = *largest == top ? 1.0f : power_of_two(broadcast<f32>(*largest - top))[0];
    *weights = *weights * rescale + sum_of_lanes(sum);
    *largest = top;
    return rescale;
}

template <class Stored>
void pack_unit(const AttentionJob& job, int64_t unit) {
    const genfuse_attention_args& args = *job.args;
    const int64_t head = job.first_head + unit / job.key_blocks, n = head / args.heads;
    const int64_t first = unit % job.key_blocks * kKeysAtOnce, left = args.keys - first;
    const int64_t count = left < kKeysAtOnce ? left : kKeysAtOnce;
    float* const to = job.packed + unit * job.packed_block();
    pack_panels(transposed(tokens_of<Stored>(args.k, n, head % args.heads, first, count, args.channels)),
                kPanel, block_for(count), to);
    pack_panels(tokens_of<Stored>(args.v, n, head % args.heads, first, count, args.value_channels), kPanel,
                block_for(args.value_channels), to + kKeysAtOnce * job.depth);
}

template <class Stored>
void run_unit(const AttentionJob& job, int64_t unit, int slot) {
    const genfuse_attention_args& args = *job.args;
    const AttentionFrame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t place = unit / job.units_a_head, n = (job.first_head + place) / args.heads;
    const int64_t head = (job.first_head + place) % args.heads;
    const int64_t first = unit % job.units_a_head * job.queries_a_unit, left = args.queries - first;
    const int64_t rows = left < job.queries_a_unit ? left : job.queries_a_unit;

    const Matrix<Stored> query = tokens_of<Stored>(args.q, n, head, first, rows, args.channels);
    for (int64_t c = 0; c < args.channels; c += kLanes<float>) {
        pack_lanes(query, c, job.depth, frame.query + c);
    }
    for (int64_t i = 0; i < rows * job.depth; i += kLanes<float>) {
        store(frame.query + i, load<f32>(frame.query + i) * (args.scale * kLog2E));
    }
    for (int64_t row = 0; row < rows; ++row) {
        frame.largest[row] = -__builtin_inff();
        frame.weights[row] = 0;
    }
    for (int64_t block = 0; block < job.key_blocks; ++block) {
        const float* const keys = job.packed + (place * job.key_blocks + block) * job.packed_block();
        const int64_t rest = args.keys - block * kKeysAtOnce;
        const int64_t count = rest < kKeysAtOnce ? rest : kKeysAtOnce;
        Product{frame.query, job.depth, rows, args.channels, keys, count, frame.scores, kKeysAtOnce, true}
            .run();
        for (int64_t row = 0; row < rows; ++row) {
            const float rescale =
                weigh(frame.scores + row * kKeysAtOnce, count, frame.largest + row, frame.weights + row);
            if (block == 0) continue;
            float* const sums = frame.sums + row * job.wide;
            for (int64_t c = 0; c < job.wide; c += kLanes<float>) {
                store(sums + c, load<f32>(sums + c) * rescale);
            }
        }
        Product{frame.scores,        kKeysAtOnce, rows,     count,     keys + kKeysAtOnce * job.depth,
                args.value_channels, frame.sums,  job.wide, block == 0}
            .run();
    }
    for (int64_t row = 0; row < rows; ++row) {
        float* const sums = frame.sums + row * job.wide;
        // The definition divides 0 by 0 where every score is −∞.
        const bool none = frame.largest[row] == -__builtin_inff();
        const float share = none ? __builtin_nanf("") : 1.0f / frame.weights[row];
        for (int64_t c = 0; c < job.wide; c += kLanes<float>) store(sums + c, load<f32>(sums + c) * share);
        Stored* const to = static_cast<Stored*>(args.out.data) + n * args.out.stride_n +
                           head * args.out.stride_head + (first + row) * args.out.stride_token;
        narrow_run(sums, args.value_channels, to);
    }
}

}  // namespace

void attention_pack_unit(const AttentionJob& job, int64_t unit, int) {
    with_stored(job.args->dtype, [&](auto stored) { pack_unit<decltype(stored)>(job, unit); });
}

void attention_unit(const AttentionJob& job, int64_t unit, int slot) {
    with_stored(job.args->dtype, [&](auto stored) { run_unit<decltype(stored)>(job, unit, slot); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
