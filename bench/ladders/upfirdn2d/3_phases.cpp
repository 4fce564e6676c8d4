#include <algorithm>
#include <numeric>

#include "genfuse/upfirdn2d.h"
// genfuse: dtypes=float32

// Step 3: outputs of a row whose places differ by up/gcd(up, down) meet the same taps, and pixels that lie
// down/gcd apart: such a phase is one run, a factor times a run of pixels for each tap, which the compiler
// makes vectors of. What genfuse's own adds: sums that stay in registers, a filter of one axis along x once a
// row and then along y, channels last, half precision.

GENFUSE_KERNEL(args) {
    const genfuse_tensor &x = args.x, &f = args.f, &out = args.out;
    if (!genfuse::contiguous(x) || !genfuse::contiguous(out)) return "channels last";
    const int64_t high = f.size[0], wide = f.size[f.axes - 1], height = out.size[2], width = out.size[3];
    std::vector<float> factors(static_cast<size_t>(high * wide));
    for (int64_t t = 0; t < high * wide; ++t) {
        const int64_t turned = args.flip_filter ? t : high * wide - 1 - t;
        const double value = f.axes == 2 ? genfuse::load(f, genfuse::place(f, turned))
                                         : genfuse::load(f, turned / wide * f.stride[0]) *
                                               genfuse::load(f, turned % wide * f.stride[0]);
        factors[static_cast<size_t>(t)] = static_cast<float>(value * args.gain);
    }
    const int64_t up = args.up[0], down = args.down[0], common = std::gcd(up, down);
    const int64_t phases = up / common, step = down / common;
    genfuse::parallel(args.threads, out.size[0] * out.size[1] * height, [&](int64_t begin, int64_t end) {
        std::vector<float> sum(static_cast<size_t>(width));
        for (int64_t r = begin; r < end; ++r) {
            const float* plane = static_cast<const float*>(x.data) + r / height * x.size[2] * x.size[3];
            float* to = static_cast<float*>(out.data) + r * width;
            for (int64_t phase = 0; phase < std::min(phases, width); ++phase) {
                const int64_t count = (width - phase + phases - 1) / phases;
                std::fill(sum.begin(), sum.begin() + count, 0.0f);
                for (int64_t t = 0; t < high * wide; ++t) {
                    const int64_t y = r % height * args.down[1] + t / wide - args.padding[2];
                    const int64_t first = phase * down + t % wide - args.padding[0];  // of run element 0
                    if (y < 0 || y % args.up[1] || y / args.up[1] >= x.size[2] || first % up) continue;
                    const int64_t pixel = first / up;
                    const int64_t from = pixel < 0 ? (-pixel + step - 1) / step : 0;
                    const int64_t last = (x.size[3] - pixel + step - 1) / step;
                    const float* row = plane + y / args.up[1] * x.size[3];
                    const float factor = factors[static_cast<size_t>(t)];
                    if (step == 1)
                        for (int64_t k = from; k < std::min(count, last); ++k)
                            sum[static_cast<size_t>(k)] += factor * row[pixel + k];
                    else
                        for (int64_t k = from; k < std::min(count, last); ++k)
                            sum[static_cast<size_t>(k)] += factor * row[pixel + k * step];
                }
                for (int64_t k = 0; k < count; ++k) to[phase + k * phases] = sum[static_cast<size_t>(k)];
            }
        }
    });
    return nullptr;
}
