#include "genfuse/attention.h"

// A query at a time: its scores, their softmax, the weighted sum. What is to be gained: blocks of queries and
// keys.

GENFUSE_KERNEL(args) {
    const genfuse_tensor &q = args.q, &k = args.k, &v = args.v;
    const int64_t heads = q.size[1], queries = q.size[2], keys = k.size[2], channels = q.size[3],
                  values = v.size[3];
    genfuse::parallel(args.threads, q.size[0] * heads * queries, [&](int64_t begin, int64_t end) {
        std::vector<double> weight(static_cast<size_t>(keys));
        for (int64_t i = begin; i < end; ++i) {
            const int64_t n = i / (heads * queries), head = i / queries % heads, query = i % queries;
            double largest = -INFINITY, total = 0;
            for (int64_t s = 0; s < keys; ++s) {
                double score = 0;
                for (int64_t d = 0; d < channels; ++d)
                    score += genfuse::load(q, genfuse::at(q, n, head, query, d)) *
                             genfuse::load(k, genfuse::at(k, n, head, s, d));
                weight[static_cast<size_t>(s)] = score * args.scale;
                if (score * args.scale > largest) largest = score * args.scale;
            }
            for (double& w : weight) total += w = exp(w - largest);
            for (int64_t e = 0; e < values; ++e) {
                double sum = 0;
                for (int64_t s = 0; s < keys; ++s)
                    sum += weight[static_cast<size_t>(s)] * genfuse::load(v, genfuse::at(v, n, head, s, e));
                genfuse::store(args.out, genfuse::at(args.out, n, head, query, e), sum / total);
            }
        }
    });
    return nullptr;
}
