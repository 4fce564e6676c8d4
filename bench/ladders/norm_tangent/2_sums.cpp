#include "genfuse/norm_tangent.h"

// Step 2: a set is a run of memory, read for its two means, for its two sums of products, and once more to
// write; sums have sixteen lanes of float64. What genfuse's own adds: sums of few numbers in float32 that go
// on in float64, what the means' rounding leaves over, and all gradients from the same sums.

namespace {

// Over a run of x and t: the sums of first(x, t) and second(x, t).
template <class First, class Second>
void sums(const float* x, const float* t, int64_t size, double* to, const First& first,
          const Second& second) {
    double one[16] = {}, two[16] = {};
    int64_t i = 0;
    for (; i + 16 <= size; i += 16)
        for (int k = 0; k < 16; ++k) {
            const double of_x = x[i + k], of_t = t[i + k];
            one[k] += first(of_x, of_t), two[k] += second(of_x, of_t);
        }
    for (; i < size; ++i) one[0] += first(x[i], t[i]), two[0] += second(x[i], t[i]);
    to[0] = to[1] = 0;
    for (int k = 0; k < 16; ++k) to[0] += one[k], to[1] += two[k];
}

}  // namespace

GENFUSE_KERNEL(args) {
    const genfuse_tensor* all[] = {&args.out, &args.x, &args.tangent};
    for (const genfuse_tensor* t : all)
        if (!genfuse::contiguous(*t)) return "memory that is not contiguous";
    const int64_t size = args.x.size[1];
    const genfuse_tensor& weight = args.weight;
    genfuse::parallel(args.threads, args.x.size[0], [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
            const float *x = static_cast<const float*>(args.x.data) + b * size,
                        *t = static_cast<const float*>(args.tangent.data) + b * size;
            float* out = static_cast<float*>(args.out.data) + b * size;
            const double count = static_cast<double>(size);
            double found[2];
            sums(x, t, size, found, [](double v, double) { return v; }, [](double, double v) { return v; });
            const double mean = found[0] / count, moved = found[1] / count;
            sums(
                x, t, size, found, [=](double v, double) { return (v - mean) * (v - mean); },
                [=](double v, double w) { return (v - mean) * w; });
            const double r = 1 / sqrt(found[0] / count + args.eps), along = found[1] / count * r * r;
            const int64_t spans = weight.data ? weight.size[1] : 1, span = size / spans;
            for (int64_t k = 0; k < spans; ++k) {
                double factor = r;
                if (weight.data)
                    factor *=
                        genfuse::load(weight, b % weight.size[0] * weight.stride[0] + k * weight.stride[1]);
                for (int64_t i = k * span; i < (k + 1) * span; ++i)
                    out[i] = static_cast<float>(factor * (t[i] - moved - (x[i] - mean) * along));
            }
        }
    });
    return nullptr;
}
