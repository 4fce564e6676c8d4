#include "genfuse/upfirdn2d.h"
// genfuse: dtypes=float32

// Step 2: which taps of a row or column meet a pixel, and which pixel, is found once and not by every output;
// the filter is turned over and multiplied by the gain once. What is left: an output at a time, whose
// neighbours read other taps, so that nothing is a vector.

namespace {

struct Taps {  // of each output along one axis: the first that meets a pixel, how many do, and the first
               // pixel
    std::vector<int64_t> first, count, pixel;

    Taps(int64_t outputs, int64_t taps, int64_t size, int64_t up, int64_t down, int64_t padding) {
        for (int64_t out = 0; out < outputs; ++out) {
            int64_t at = out * down - padding, tap = at < 0 ? -at : (up - at % up) % up;
            at += tap;
            int64_t met = 0;
            while (tap + met * up < taps && at / up + met < size) ++met;
            first.push_back(tap), count.push_back(met), pixel.push_back(at / up);
        }
    }
};

}  // namespace

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
    const Taps rows(height, high, x.size[2], args.up[1], args.down[1], args.padding[2]);
    const Taps columns(width, wide, x.size[3], args.up[0], args.down[0], args.padding[0]);
    genfuse::parallel(args.threads, out.size[0] * out.size[1], [&](int64_t begin, int64_t end) {
        for (int64_t p = begin * height * width; p < end * height * width; ++p) {
            const size_t h = static_cast<size_t>(p / width % height), w = static_cast<size_t>(p % width);
            const float* plane =
                static_cast<const float*>(x.data) + p / (height * width) * x.size[2] * x.size[3];
            float sum = 0;
            for (int64_t i = 0; i < rows.count[h]; ++i) {
                const float* row = plane + (rows.pixel[h] + i) * x.size[3] + columns.pixel[w];
                const float* tap =
                    factors.data() + (rows.first[h] + i * args.up[1]) * wide + columns.first[w];
                for (int64_t j = 0; j < columns.count[w]; ++j) sum += tap[j * args.up[0]] * row[j];
            }
            static_cast<float*>(out.data)[p] = sum;
        }
    });
    return nullptr;
}
