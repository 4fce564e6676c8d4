// The kernel of norm_direction; compiled once for each instruction set.
#include <cmath>

#include "common/activation.h"
#include "common/half.h"
#include "norm_direction/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int64_t kPiece = 16 * kLanes<float>;  // elements that are summed in float32

// NaN is not seen: the sum of squares has it.
template <class Stored>
float largest_of(const Stored* x, int64_t count) {
    f32 found = {};
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        const f32 value = magnitude(widen_part(x + i, count - i));
        found = value > found ? value : found;
    }
    float largest = 0;
    for (int lane = 0; lane < kLanes<float>; ++lane) largest = found[lane] > largest ? found[lane] : largest;
    return largest;
}

// A power of two, by which the largest becomes 1 to 2, as far as powers go that are no subnormal numbers.
float scale_for(float largest) {
    if (!(largest > 0)) return 1;
    int exponent = 127;  // of an infinite one
    if (std::isfinite(largest)) std::frexp(largest, &exponent);
    const int power = 1 - exponent;
    return std::ldexp(1.0f, power < -126 ? -126 : power > 126 ? 126 : power);
}

template <class Stored>
double squares_of(const Stored* x, int64_t count, float by) {
    const f32 scale = broadcast<f32>(by);
    double sum = 0;
    for (int64_t begin = 0; begin < count; begin += kPiece) {
        const int64_t end = count - begin < kPiece ? count : begin + kPiece;
        f32 part = {};
        for (int64_t i = begin; i < end; i += kLanes<float>) {
            const f32 value = widen_part(x + i, end - i) * scale;
            part = fma(value, value, part);
        }
        sum += static_cast<double>(sum_of_lanes(part));
    }
    return sum;
}

template <class Stored>
void sample(const genfuse_norm_direction_args& args, int64_t n) {
    const Stored* const x = static_cast<const Stored*>(args.x) + n * args.values;
    float* const direction = args.direction + n * args.values;
    const float scale = scale_for(largest_of(x, args.values));
    const double length = std::sqrt(squares_of(x, args.values, scale));
    args.norms[n] = static_cast<float>(length / static_cast<double>(scale));
    const f32 by = broadcast<f32>(scale);
    const f32 factor = broadcast<f32>(length == 0 ? 0.0f : static_cast<float>(1 / length));
    for (int64_t i = 0; i < args.values; i += kLanes<float>) {
        const int64_t left = args.values - i;
        narrow_part(direction + i, widen_part(x + i, left) * by * factor, left);
    }
}

}  // namespace

void norm_direction_units(const genfuse_norm_direction_args& args, int64_t begin, int64_t end) {
    with_stored(args.dtype, [&](auto stored) {
        for (int64_t n = begin; n < end; ++n) sample<decltype(stored)>(args, n);
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
