#include "genfuse/norm_act.h"
#include "genfuse/unit.h"
// genfuse: dtypes=float32

// Step 2, of group, instance and layer norm: the statistics of a group once, from runs of memory, and norm,
// weight and bias folded into one product and one sum a channel. What genfuse's own adds: exponentials in
// vectors, every layout and norm, channels last in one pass, and threads that are there already.

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const genfuse_tensor& x = args.x;
    const bool grouped =
        s.norm == GENFUSE_NORM_GROUP || s.norm == GENFUSE_NORM_INSTANCE || s.norm == GENFUSE_NORM_LAYER;
    if (!grouped || s.dropout != 0 || s.pool[0] * s.pool[1] != 1 || args.stats_out.data || args.stats.data)
        return "other norms, pooling, statistics";
    const int64_t channels = x.size[1], pixels = x.size[2] * x.size[3];
    const genfuse_tensor* images[] = {&x, &args.out, &args.residual};
    for (const genfuse_tensor* t : images)
        if (t->data &&
            ((t->size[3] > 1 && t->stride[3] != 1) || (t->size[2] > 1 && t->stride[2] != t->size[3])))
            return "channels last";
    const int64_t groups = s.norm == GENFUSE_NORM_GROUP   ? s.num_groups
                           : s.norm == GENFUSE_NORM_LAYER ? 1
                                                          : channels;
    const int64_t size = channels / groups;
    const auto plane = [](const genfuse_tensor& t, int64_t n, int64_t c) {
        return static_cast<float*>(t.data) + n * t.stride[0] + c * t.stride[1];
    };
    genfuse::parallel(args.threads, x.size[0] * groups, [&](int64_t begin, int64_t end) {
        for (int64_t g = begin; g < end; ++g) {
            const int64_t n = g / groups, first = g % groups * size;
            const double count = static_cast<double>(size * pixels);
            const auto summed = [&](double about,
                                    bool square) {  // in eight lanes, so that sums need not wait
                double lanes[8] = {}, sum = 0;
                for (int64_t c = first; c < first + size; ++c) {
                    const float* from = plane(x, n, c);
                    for (int64_t p = 0; p < pixels; ++p) {
                        const double off = from[p] - about;
                        lanes[p % 8] += square ? off * off : off;
                    }
                }
                for (double lane : lanes) sum += lane;
                return sum / count;
            };
            const double mean = summed(0, false), variance = summed(mean, true);
            const double r = 1 / sqrt(variance + s.eps);
            for (int64_t c = first; c < first + size; ++c) {
                const double film = 1 + genfuse::of_channel(args.film_scale, n, c, 0);
                const double weight = genfuse::of_channel(args.norm_weight, n, c, 1) * film * r;
                const double bias = genfuse::of_channel(args.norm_bias, n, c, 0) * film - mean * weight +
                                    genfuse::of_channel(args.film_shift, n, c, 0);
                const float *from = plane(x, n, c),
                            *beside = args.residual.data ? plane(args.residual, n, c) : nullptr;
                float* to = plane(args.out, n, c);
                for (int64_t p = 0; p < pixels; ++p) {
                    double v = genfuse::activated(from[p] * weight + bias, s.activation, s.negative_slope);
                    if (beside) v += beside[p];
                    to[p] = static_cast<float>(
                        genfuse::activated(v * s.scale, s.out_activation, s.negative_slope));
                }
            }
        }
    });
    return nullptr;
}
