#include "genfuse/linear.h"
// after it
#include "genfuse/unit.h"

// A sum an output. What is to be gained: blocks of outputs in registers, activations once.

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const int64_t outputs = args.out.size[1], inputs = args.x.size[1];
    const auto of = [](const genfuse_tensor& t, int64_t row, int64_t column) {
        return genfuse::load(t, row * t.stride[0] + column * t.stride[1]);
    };
    genfuse::parallel(args.threads, genfuse::numel(args.out), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t row = i / outputs, k = i % outputs;
            double sum = args.bias.data ? genfuse::load(args.bias, k * args.bias.stride[0]) : 0;
            for (int64_t c = 0; c < inputs; ++c)
                sum += genfuse::activated(of(args.x, row, c), s.activation, s.negative_slope) *
                       of(args.weight, k, c);
            if (args.residual.data) sum += of(args.residual, row, k);
            genfuse::store(args.out, row * args.out.stride[0] + k * args.out.stride[1],
                           genfuse::activated(sum * s.scale, s.out_activation, s.negative_slope));
        }
    });
    return nullptr;
}
