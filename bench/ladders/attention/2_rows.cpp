#include <algorithm>

#include "genfuse/attention.h"

// Step 2: keys lie as columns and values as rows, in float32, so that a query's scores and its output are
// sums of rows, which the compiler makes vectors of. What is left: every query reads all keys and values for
// itself, each product loads and stores its sum, and exponentials are taken one by one.

GENFUSE_KERNEL(args) {
    const genfuse_tensor &q = args.q, &k = args.k, &v = args.v;
    const int64_t heads = q.size[1], queries = q.size[2], keys = k.size[2], channels = q.size[3],
                  values = v.size[3];
    std::vector<float> columns(static_cast<size_t>(q.size[0] * heads * channels * keys));
    std::vector<float> rows(static_cast<size_t>(q.size[0] * heads * keys * values));
    genfuse::parallel(args.threads, q.size[0] * heads, [&](int64_t begin, int64_t end) {
        for (int64_t of = begin; of < end; ++of)
            for (int64_t s = 0; s < keys; ++s) {
                for (int64_t d = 0; d < channels; ++d)
                    columns[static_cast<size_t>((of * channels + d) * keys + s)] =
                        static_cast<float>(genfuse::load(k, genfuse::at(k, of / heads, of % heads, s, d)));
                for (int64_t e = 0; e < values; ++e)
                    rows[static_cast<size_t>((of * keys + s) * values + e)] =
                        static_cast<float>(genfuse::load(v, genfuse::at(v, of / heads, of % heads, s, e)));
            }
    });
    genfuse::parallel(args.threads, q.size[0] * heads * queries, [&](int64_t begin, int64_t end) {
        std::vector<float> weight(static_cast<size_t>(keys)), sum(static_cast<size_t>(values));
        for (int64_t i = begin; i < end; ++i) {
            const int64_t of = i / queries, n = of / heads, head = of % heads, query = i % queries;
            std::fill(weight.begin(), weight.end(), 0.0f);
            std::fill(sum.begin(), sum.end(), 0.0f);
            for (int64_t d = 0; d < channels; ++d) {
                const float factor =
                    static_cast<float>(args.scale * genfuse::load(q, genfuse::at(q, n, head, query, d)));
                const float* key = columns.data() + (of * channels + d) * keys;
                for (int64_t s = 0; s < keys; ++s) weight[static_cast<size_t>(s)] += factor * key[s];
            }
            const float largest = *std::max_element(weight.begin(), weight.end());
            double total = 0;
            for (float& w : weight) total += w = expf(w - largest);
            for (int64_t s = 0; s < keys; ++s) {
                const float w = weight[static_cast<size_t>(s)];
                const float* value = rows.data() + (of * keys + s) * values;
                for (int64_t e = 0; e < values; ++e) sum[static_cast<size_t>(e)] += w * value[e];
            }
            for (int64_t e = 0; e < values; ++e)
                genfuse::store(args.out, genfuse::at(args.out, n, head, query, e),
                               sum[static_cast<size_t>(e)] / total);
        }
    });
    return nullptr;
}
