#include "genfuse/philox_lerp.h"

// Each element on its own, its sample's weight drawn for every one. What is to be gained: a weight a sample,
// vectors.

GENFUSE_KERNEL(args) {
    const int64_t samples = args.out.size[0], count = samples ? genfuse::numel(args.out) / samples : 0;
    genfuse::parallel(args.threads, samples * count, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            uint32_t words[4];
            genfuse::philox(static_cast<uint64_t>(args.seed), 0,
                            static_cast<uint32_t>(args.first + i / count), 4, words);
            const double u = genfuse::uniform(words[0]);
            double made = 0;
            if (args.start.data) made += (1 - u) * genfuse::load(args.start, genfuse::place(args.start, i));
            if (args.end.data) made += u * genfuse::load(args.end, genfuse::place(args.end, i));
            genfuse::store(args.out, genfuse::place(args.out, i), made);
        }
    });
    return nullptr;
}
