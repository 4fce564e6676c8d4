// The elements that tensors hold, and the type that arithmetic on them runs in. For NVRTC, which has no
// standard headers, and for the host compiler that emulates it.
#pragma once

namespace genfuse {

using int64 = long long;
using uint32 = unsigned int;
using uint64 = unsigned long long;

struct float16 {
    unsigned short bits;
};
struct bfloat16 {
    unsigned short bits;
};

template <class Stored>
struct Arithmetic {
    using type = float;
};
template <>
struct Arithmetic<double> {
    using type = double;
};

__device__ inline float widen(float value) {
    return value;
}
__device__ inline double widen(double value) {
    return value;
}
__device__ inline float widen(bfloat16 value) {
    return __uint_as_float(static_cast<uint32>(value.bits) << 16);
}

__device__ inline void narrow(float value, float* to) {
    *to = value;
}
__device__ inline void narrow(double value, double* to) {
    *to = value;
}

// Conversions that are one instruction, without the toolkit's headers; each has a plain twin for the host.
#ifdef __CUDA_ARCH__
__device__ inline float widen(float16 value) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
}
__device__ inline void narrow(float value, float16* to) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(value));
}
__device__ inline void narrow(float value, bfloat16* to) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to->bits) : "f"(value));
}
#else
inline float widen(float16 value) {
    _Float16 half;
    __builtin_memcpy(&half, &value.bits, sizeof(half));
    return static_cast<float>(half);
}
inline void narrow(float value, float16* to) {
    const _Float16 half = static_cast<_Float16>(value);
    __builtin_memcpy(&to->bits, &half, sizeof(half));
}
inline void narrow(float value, bfloat16* to) {
    const uint32 bits = __float_as_uint(value);
    const uint32 rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
    to->bits = static_cast<unsigned short>(value == value ? rounded >> 16 : 0x7FFFu);
}
#endif

}  // namespace genfuse
