#include <algorithm>

#include "genfuse/attention.h"

// Step 3: eight queries meet 128 keys at a time. Products of eight queries and two vectors are sums in
// registers; the scores of a block stay in the nearest cache, and what was summed is rescaled where the
// largest score has grown (Milakov & Gimelshein 2018; Dao et al. 2022), so that no row of scores is ever
// whole. What genfuse's own adds: more queries a block, heads of few channels by another kernel, threads that
// are there.

namespace {

constexpr int kQueries = 8, kVector = 16, kPanel = 2 * kVector, kKeys = 4 * kPanel;
typedef float Vector __attribute__((vector_size(4 * kVector)));
typedef int32_t Integers __attribute__((vector_size(4 * kVector)));

// 2^x, at least 2^-126: the whole part into the exponent, of the rest the series, 5e-9.
Vector power_of_two(Vector x) {
    static const float series[] = {1.0f,           0.69314718f,    0.24022651f,    0.055504109f,
                                   9.61812911e-3f, 1.33335581e-3f, 1.54035304e-4f, 1.52527338e-5f};
    x = x < -126.0f ? Vector{} - 126.0f : x;
    const Vector shifted = x + 0x1.8p23f;  // whose last bits are x to the nearest integer
    const Vector rest = x - (shifted - 0x1.8p23f);
    Vector sum = Vector{} + series[7];
    for (int i = 6; i >= 0; --i) sum = sum * rest + series[i];
    return reinterpret_cast<Vector>(reinterpret_cast<Integers>(sum) +
                                    (reinterpret_cast<Integers>(shifted) << 23));
}

// to (kQueries, wide) += factors (kQueries, count; `ahead` apart) · panel (count, kPanel)
void multiply(float* to, int64_t wide, const float* factors, int64_t ahead, const float* panel,
              int64_t count) {
    Vector sum[kQueries][2];
    for (int i = 0; i < kQueries; ++i) memcpy(sum[i], to + i * wide, sizeof(sum[i]));
    for (int64_t d = 0; d < count; ++d, panel += kPanel) {
        Vector from[2];
        memcpy(from, panel, sizeof(from));
        for (int i = 0; i < kQueries; ++i) {
            sum[i][0] += factors[i * ahead + d] * from[0];
            sum[i][1] += factors[i * ahead + d] * from[1];
        }
    }
    for (int i = 0; i < kQueries; ++i) memcpy(to + i * wide, sum[i], sizeof(sum[i]));
}

// Scores become weights; what was summed before is of an older largest score, and rescaled.
void weigh(float* score, float* sum, int64_t wide, float* largest, double* total) {
    for (int i = 0; i < kQueries; ++i, score += kKeys, sum += wide) {
        const float before = largest[i];
        largest[i] = std::max(before, *std::max_element(score, score + kKeys));
        const float factor = power_of_two(Vector{} + (before - largest[i]))[0];
        Vector lanes = {};
        for (int s = 0; s < kKeys; s += kVector) {
            Vector w;
            memcpy(&w, score + s, sizeof(w));
            w = power_of_two(w - largest[i]);
            lanes += w;
            memcpy(score + s, &w, sizeof(w));
        }
        total[i] *= factor;
        for (int lane = 0; lane < kVector; ++lane) total[i] += lanes[lane];
        for (int64_t e = 0; e < wide; ++e) sum[e] *= factor;
    }
}

// Rows of kPanel columns of a matrix (rows, columns), panel behind panel, zeros behind its end.
template <class Element>
void pack(float* to, int64_t rows, int64_t columns, int64_t room, const Element& element) {
    for (int64_t column = 0; column < columns; ++column)
        for (int64_t row = 0; row < rows; ++row)
            to[(column / kPanel * room + row) * kPanel + column % kPanel] =
                static_cast<float>(element(row, column));
}

}  // namespace

GENFUSE_KERNEL(args) {
    const genfuse_tensor &q = args.q, &k = args.k, &v = args.v;
    const int64_t heads = q.size[1], queries = q.size[2], keys = k.size[2], channels = q.size[3],
                  values = v.size[3];
    const int64_t all = q.size[0] * heads, blocks = (queries + kQueries - 1) / kQueries;
    const int64_t room = (keys + kKeys - 1) / kKeys * kKeys, wide = (values + kPanel - 1) / kPanel * kPanel;
    std::vector<float> packed_keys(static_cast<size_t>(all * room * channels));
    std::vector<float> packed_values(static_cast<size_t>(all * room * wide));
    genfuse::parallel(args.threads, all, [&](int64_t begin, int64_t end) {
        for (int64_t of = begin; of < end; ++of) {
            pack(packed_keys.data() + of * room * channels, channels, keys, channels,
                 [&](int64_t d, int64_t s) {
                     return genfuse::load(k, genfuse::at(k, of / heads, of % heads, s, d));
                 });
            pack(packed_values.data() + of * room * wide, keys, values, room, [&](int64_t s, int64_t e) {
                return genfuse::load(v, genfuse::at(v, of / heads, of % heads, s, e));
            });
        }
    });
    genfuse::parallel(args.threads, all * blocks, [&](int64_t begin, int64_t end) {
        std::vector<float> scaled(static_cast<size_t>(kQueries * channels)),
            sum(static_cast<size_t>(kQueries * wide));
        std::vector<float> score(kQueries * kKeys);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t of = i / blocks, n = of / heads, head = of % heads, first = i % blocks * kQueries;
            const int64_t count = std::min<int64_t>(kQueries, queries - first);
            for (int64_t j = 0; j < count * channels; ++j)
                scaled[static_cast<size_t>(j)] = static_cast<float>(
                    1.4426950408889634 * args.scale *
                    genfuse::load(q, genfuse::at(q, n, head, first + j / channels, j % channels)));
            std::fill(sum.begin(), sum.end(), 0.0f);
            float largest[kQueries];
            double total[kQueries] = {};
            std::fill(largest, largest + kQueries, -INFINITY);
            for (int64_t s = 0; s < room; s += kKeys) {
                std::fill(score.begin(), score.end(), 0.0f);
                for (int64_t panel = 0; panel < kKeys; panel += kPanel)
                    multiply(score.data() + panel, kKeys, scaled.data(), channels,
                             packed_keys.data() + (of * room + s + panel) * channels, channels);
                for (int64_t past = keys; past < s + kKeys; ++past)
                    for (int j = 0; j < kQueries && past >= s; ++j)
                        score[static_cast<size_t>(j * kKeys + past - s)] = -INFINITY;
                weigh(score.data(), sum.data(), wide, largest, total);
                for (int64_t e = 0; e < wide; e += kPanel)
                    multiply(sum.data() + e, wide, score.data(), kKeys,
                             packed_values.data() + of * room * wide + e * room + s * kPanel, kKeys);
            }
            for (int64_t j = 0; j < count * values; ++j)
                genfuse::store(args.out, genfuse::at(args.out, n, head, first + j / values, j % values),
                               sum[static_cast<size_t>(j / values * wide + j % values)] / total[j / values]);
        }
    });
    return nullptr;
}
