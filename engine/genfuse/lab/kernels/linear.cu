#include "genfuse/linear.h"
#include "genfuse/unit.h"
// genfuse: threads=128

// A thread an output. What is to be gained: tiles in shared memory, tensor cores.

GENFUSE_KERNEL(args) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * GENFUSE_THREADS + threadIdx.x;
    if (i >= genfuse::numel(args.out)) return;
    const genfuse_settings& s = args.settings;
    const int64_t row = i / args.out.size[1], k = i % args.out.size[1];
    double sum = args.bias.data ? genfuse::load(args.bias, k * args.bias.stride[0]) : 0;
    for (int64_t c = 0; c < args.x.size[1]; ++c) {
        const double x = genfuse::load(args.x, row * args.x.stride[0] + c * args.x.stride[1]);
        const double w = genfuse::load(args.weight, k * args.weight.stride[0] + c * args.weight.stride[1]);
        sum += genfuse::activated(x, s.activation, s.negative_slope) * w;
    }
    if (args.residual.data) sum += genfuse::load(args.residual, genfuse::place(args.residual, i));
    genfuse::store(args.out, genfuse::place(args.out, i),
                   genfuse::activated(sum * s.scale, s.out_activation, s.negative_slope));
}
