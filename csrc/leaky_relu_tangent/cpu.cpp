// The kernel of leaky_relu_tangent; compiled once for each instruction set.
#include "common/half.h"
#include "leaky_relu_tangent/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

typedef uint8_t bytes __attribute__((vector_size(kLanes<float>)));

// All bits of a lane where its byte is not 0; of the first `count` bytes.
GENFUSE_INLINE i32 lanes_where(const uint8_t* mask, int64_t count) {
    const int64_t there = count < kLanes<float> ? count : kLanes<float>;
    return __builtin_convertvector(load_part<bytes>(mask, there), i32) != 0;
}

template <class Stored>
void run(const genfuse_leaky_relu_tangent_args& args, int64_t begin, int64_t end) {
    const Stored* const tangent = static_cast<const Stored*>(args.tangent);
    Stored* const out = static_cast<Stored*>(args.out);
    const f32 below = broadcast<f32>(args.negative_slope), above = broadcast<f32>(args.positive_slope);
    int64_t i = begin;
    for (; i + kLanes<float> <= end; i += kLanes<float>) {
        narrow(out + i, widen(tangent + i) * (lanes_where(args.mask + i, kLanes<float>) ? above : below));
    }
    if (i == end) return;
    const f32 slope = lanes_where(args.mask + i, end - i) ? above : below;
    narrow_part(out + i, widen_part(tangent + i, end - i) * slope, end - i);
}

}  // namespace

void leaky_relu_tangent_units(const genfuse_leaky_relu_tangent_args& args, int64_t begin, int64_t end) {
    const int64_t last = end * kLeakyReluTangentPiece;
    with_stored(args.dtype, [&](auto stored) {
        run<decltype(stored)>(args, begin * kLeakyReluTangentPiece, last < args.count ? last : args.count);
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
