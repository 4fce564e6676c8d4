#include "genfuse/upfirdn2d.h"

// A sum over the filter's taps an output; those that meet a zero between pixels are passed over. What is to
// be gained: filters along one axis after the other, taps that meet no zero alone.

GENFUSE_KERNEL(args) {
    const genfuse_tensor &x = args.x, &f = args.f, &out = args.out;
    const int64_t taps_h = f.size[0], taps_w = f.size[f.axes - 1], height = out.size[2], width = out.size[3];
    const auto factor = [&](int64_t i, int64_t j) {  // turned over unless flip_filter
        if (!args.flip_filter) i = taps_h - 1 - i, j = taps_w - 1 - j;
        if (f.axes == 2) return genfuse::load(f, i * f.stride[0] + j * f.stride[1]);
        return genfuse::load(f, i * f.stride[0]) * genfuse::load(f, j * f.stride[0]);
    };
    genfuse::parallel(args.threads, out.size[0] * out.size[1], [&](int64_t begin, int64_t end) {
        for (int64_t plane = begin; plane < end; ++plane)
            for (int64_t p = 0; p < height * width; ++p) {
                const int64_t n = plane / out.size[1], c = plane % out.size[1];
                double sum = 0;
                for (int64_t i = 0; i < taps_h; ++i)
                    for (int64_t j = 0; j < taps_w; ++j) {
                        const int64_t y = p / width * args.down[1] + i - args.padding[2];
                        const int64_t w = p % width * args.down[0] + j - args.padding[0];
                        if (y < 0 || w < 0 || y % args.up[1] || w % args.up[0]) continue;
                        if (y / args.up[1] >= x.size[2] || w / args.up[0] >= x.size[3]) continue;
                        const int64_t at = genfuse::at(x, n, c, y / args.up[1], w / args.up[0]);
                        sum += factor(i, j) * genfuse::load(x, at);
                    }
                genfuse::store(out, genfuse::at(out, n, c, p / width, p % width), sum * args.gain);
            }
    });
    return nullptr;
}
