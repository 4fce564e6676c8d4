#include <algorithm>

#include "genfuse/linear.h"
#include "genfuse/unit.h"

// Step 3: six rows times thirty-two outputs are sums in registers, so that two loads of weights serve twelve
// products of vectors and no sum goes through memory; weights lie in the order in which they are read. What
// genfuse's own adds: blocks of inputs and outputs that fit the caches, weights that are packed once and
// kept, activations and the way out in vectors.

namespace {

constexpr int kRows = 6, kVector = 16, kOutputs = 2 * kVector;
typedef float Vector __attribute__((vector_size(4 * kVector)));

// Sums of a block: h (kRows, inputs), weights (inputs, kOutputs).
void block(float* to, const float* h, const float* weights, int64_t inputs) {
    Vector sum[kRows][2] = {};
    for (int64_t c = 0; c < inputs; ++c, weights += kOutputs) {
        Vector w[2];
        memcpy(w, weights, sizeof(w));
        for (int r = 0; r < kRows; ++r) {
            sum[r][0] += h[r * inputs + c] * w[0];
            sum[r][1] += h[r * inputs + c] * w[1];
        }
    }
    memcpy(to, sum, sizeof(sum));
}

}  // namespace

GENFUSE_KERNEL(args) {
    const genfuse_settings& s = args.settings;
    const int64_t rows = args.out.size[0], outputs = args.out.size[1], inputs = args.x.size[1];
    const auto of = [](const genfuse_tensor& t, int64_t row, int64_t column) {
        return genfuse::load(t, row * t.stride[0] + column * t.stride[1]);
    };
    const int64_t panels = (outputs + kOutputs - 1) / kOutputs, blocks = (rows + kRows - 1) / kRows;
    std::vector<float> packed(
        static_cast<size_t>(panels * inputs * kOutputs));  // zeros behind the last output
    for (int64_t k = 0; k < outputs; ++k)
        for (int64_t c = 0; c < inputs; ++c)
            packed[static_cast<size_t>((k / kOutputs * inputs + c) * kOutputs + k % kOutputs)] =
                static_cast<float>(of(args.weight, k, c));
    genfuse::parallel(args.threads, blocks, [&](int64_t begin, int64_t end) {
        std::vector<float> h(
            static_cast<size_t>(kRows * inputs));  // what stands behind the last row is of no use
        float sum[kRows * kOutputs];
        for (int64_t b = begin; b < end; ++b) {
            const int64_t first = b * kRows, last = std::min(first + kRows, rows);
            for (int64_t row = first; row < last; ++row)
                for (int64_t c = 0; c < inputs; ++c)
                    h[static_cast<size_t>((row - first) * inputs + c)] = static_cast<float>(
                        genfuse::activated(of(args.x, row, c), s.activation, s.negative_slope));
            for (int64_t panel = 0; panel < panels; ++panel) {
                block(sum, h.data(), packed.data() + panel * inputs * kOutputs, inputs);
                for (int64_t row = first; row < last; ++row)
                    for (int64_t k = panel * kOutputs; k < std::min((panel + 1) * kOutputs, outputs); ++k) {
                        double v = sum[(row - first) * kOutputs + k - panel * kOutputs];
                        if (args.bias.data) v += genfuse::load(args.bias, k * args.bias.stride[0]);
                        if (args.residual.data) v += of(args.residual, row, k);
                        genfuse::store(args.out, row * args.out.stride[0] + k * args.out.stride[1],
                                       genfuse::activated(v * s.scale, s.out_activation, s.negative_slope));
                    }
            }
        }
    });
    return nullptr;
}
