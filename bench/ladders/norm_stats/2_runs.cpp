#include "genfuse/norm_stats.h"
// genfuse: dtypes=float32

// Step 2: a planar image's channel is a run of memory, summed in sixteen lanes of float64, so that sums need
// not wait for each other. What is left: the second pass, which reads again what may have left the cache.

GENFUSE_KERNEL(args) {
    if (!genfuse::contiguous(args.x)) return "images that are not planar and dense";
    const int64_t pixels = args.x.size[2] * args.x.size[3];
    genfuse::parallel(args.threads, args.x.size[0] * args.x.size[1], [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const float* from = static_cast<const float*>(args.x.data) + i * pixels;
            const auto summed = [&](double about, bool square) {
                double lanes[16] = {}, sum = 0;
                int64_t p = 0;
                for (; p + 16 <= pixels; p += 16)
                    for (int k = 0; k < 16; ++k) {
                        const double off = from[p + k] - about;
                        lanes[k] += square ? off * off : off;
                    }
                for (; p < pixels; ++p)
                    sum += square ? (from[p] - about) * (from[p] - about) : from[p] - about;
                for (double lane : lanes) sum += lane;
                return sum / static_cast<double>(pixels);
            };
            const double mean = summed(0, false);
            genfuse::store(args.out, genfuse::place(args.out, 2 * i), mean);
            genfuse::store(args.out, genfuse::place(args.out, 2 * i + 1), summed(mean, true));
        }
    });
    return nullptr;
}
