#include "genfuse/norm_direction.h"
// genfuse: dtypes=float32,bfloat16,float16

// The sum of squares, then the quotients: two passes. What is to be gained: runs of memory, vectors.

GENFUSE_KERNEL(args) {
    const int64_t samples = args.x.size[0], count = samples ? genfuse::numel(args.x) / samples : 0;
    genfuse::parallel(args.threads, samples, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            const auto value = [&](int64_t i) {
                return genfuse::load(args.x, genfuse::place(args.x, n * count + i));
            };
            double squares = 0;  // of float32, in float64, none overflows and none vanishes
            for (int64_t i = 0; i < count; ++i) squares += value(i) * value(i);
            const double norm = sqrt(squares);
            genfuse::store(args.norms, genfuse::place(args.norms, n), norm);
            for (int64_t i = 0; i < count; ++i)
                genfuse::store(args.direction, genfuse::place(args.direction, n * count + i),
                               norm == 0 ? 0 : value(i) / norm);
        }
    });
    return nullptr;
}
