#include <algorithm>

#include "genfuse/linear.h"
#include "genfuse/unit.h"

// Step 2: weights are turned over, in float32, so that an input times its row of weights is added to a row of
// sums, which the compiler makes vectors of; each input is activated once. What is left: each product loads
// and stores its sum, and a row reads all the weights.

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const int64_t outputs = args.out.size[1], inputs = args.x.size[1];
    std::vector<float> turned(static_cast<size_t>(inputs * outputs));
    for (int64_t k = 0; k < outputs; ++k)
        for (int64_t c = 0; c < inputs; ++c)
            turned[static_cast<size_t>(c * outputs + k)] = static_cast<float>(
                genfuse::load(args.weight, k * args.weight.stride[0] + c * args.weight.stride[1]));
    genfuse::parallel(args.threads, args.out.size[0], [&](int64_t begin, int64_t end) {
        std::vector<float> sum(static_cast<size_t>(outputs));
        for (int64_t row = begin; row < end; ++row) {
            std::fill(sum.begin(), sum.end(), 0.0f);
            for (int64_t c = 0; c < inputs; ++c) {
                const double x = genfuse::load(args.x, row * args.x.stride[0] + c * args.x.stride[1]);
                const float h = static_cast<float>(genfuse::activated(x, s.activation, s.negative_slope));
                const float* weights = turned.data() + c * outputs;
                for (int64_t k = 0; k < outputs; ++k) sum[static_cast<size_t>(k)] += h * weights[k];
            }
            for (int64_t k = 0; k < outputs; ++k) {
                double v = sum[static_cast<size_t>(k)];
                if (args.bias.data) v += genfuse::load(args.bias, k * args.bias.stride[0]);
                if (args.residual.data)
                    v += genfuse::load(args.residual,
                                       row * args.residual.stride[0] + k * args.residual.stride[1]);
                genfuse::store(args.out, row * args.out.stride[0] + k * args.out.stride[1],
                               genfuse::activated(v * s.scale, s.out_activation, s.negative_slope));
            }
        }
    });
    return nullptr;
}
