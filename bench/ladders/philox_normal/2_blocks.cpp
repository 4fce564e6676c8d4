#include <algorithm>

#include "genfuse/philox_normal.h"

// Step 2: a counter is drawn once for its four numbers, and a pair of words has one radius and one angle.
// What is left: logarithms, sines and cosines of the library, one after the other, in float64.

GENFUSE_KERNEL(args) {
    const int64_t samples = args.out.size[0], count = samples ? genfuse::numel(args.out) / samples : 0;
    const int64_t* seeds = static_cast<const int64_t*>(args.seeds.data);
    const int64_t blocks = (count + 3) / 4;
    genfuse::parallel(args.threads, samples * blocks, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t n = i / blocks, block = i % blocks;
            const int64_t row = args.row_of_sample ? args.row_of_sample[n] : args.row;
            uint32_t words[4];
            genfuse::philox(static_cast<uint64_t>(seeds[n * args.seeds.stride[0]]),
                            static_cast<uint64_t>(block), static_cast<uint32_t>(row),
                            static_cast<uint32_t>(args.stream), words);
            double normals[4];
            for (int pair = 0; pair < 4; pair += 2) {
                const double radius = sqrt(-2.0 * log(genfuse::uniform(words[pair])));
                const double angle = 6.283185307179586 * genfuse::uniform(words[pair + 1]);
                normals[pair] = radius * cos(angle), normals[pair + 1] = radius * sin(angle);
            }
            const int64_t first = n * count + 4 * block, last = std::min(first + 4, (n + 1) * count);
            for (int64_t at = first; at < last; ++at)
                genfuse::store(args.out, genfuse::place(args.out, at), normals[at - first]);
        }
    });
    return nullptr;
}
