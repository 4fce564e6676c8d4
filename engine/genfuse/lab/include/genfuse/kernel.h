/* What a kernel of one's own is written against: tensors, half precision, Philox and threads.
 *
 * A C++ file includes the header of its op, genfuse/<op>.h, and defines one function:
 *
 *     #include "genfuse/norm_stats.h"
 *     GENFUSE_KERNEL(args) {
 *         if (args.x.dtype != GENFUSE_FLOAT32) return "takes float32 alone";   // declined: another kernel
 * runs
 *         ...
 *         return nullptr;                                                      // done
 *     }
 *
 * A message is returned before anything is written. A CUDA file defines the `__global__` function of the same
 * name.
 */
#pragma once

#ifdef __CUDACC_RTC__
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef unsigned char uint8_t;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#else
#include <math.h>
#include <stdint.h>
#include <string.h>
#endif

#ifdef __CUDACC_RTC__
#define GENFUSE_INLINE __device__ __forceinline__
#else
#define GENFUSE_INLINE inline
#endif

#define GENFUSE_AXES 8

enum {
    GENFUSE_FLOAT32 = 0,
    GENFUSE_FLOAT64 = 1,
    GENFUSE_BFLOAT16 = 2,
    GENFUSE_FLOAT16 = 3,
    GENFUSE_INT64 = 4,
    GENFUSE_BOOL = 5,
};

/* Strides are in elements. */
typedef struct {
    void* data; /* element (0, 0, ...); NULL: absent */
    int32_t dtype, axes;
    int64_t size[GENFUSE_AXES], stride[GENFUSE_AXES];
} genfuse_tensor;

#ifdef GENFUSE_EMULATED
static const struct {
    unsigned x, y, z;
} blockDim = {GENFUSE_THREADS, 1, 1};
#endif

#if defined(__CUDACC_RTC__) || defined(GENFUSE_EMULATED)
#define GENFUSE_KERNEL(args) extern "C" __global__ void genfuse_kernel(const genfuse_args args)
#else
#define GENFUSE_KERNEL(args)                                       \
    extern "C" int64_t genfuse_args_bytes() {                      \
        return static_cast<int64_t>(sizeof(genfuse_args));         \
    }                                                              \
    static const char* genfuse_body(const genfuse_args&);          \
    extern "C" const char* genfuse_kernel(const genfuse_args* a) { \
        return genfuse_body(*a);                                   \
    }                                                              \
    static const char* genfuse_body(const genfuse_args& args)
#endif

namespace genfuse {

GENFUSE_INLINE int64_t numel(const genfuse_tensor& t) {
    int64_t count = 1;
    for (int i = 0; i < t.axes; ++i) count *= t.size[i];
    return count;
}

/* Where the logical element `index` (the last axis fastest) lies, in elements. */
GENFUSE_INLINE int64_t place(const genfuse_tensor& t, int64_t index) {
    int64_t offset = 0;
    for (int i = t.axes - 1; i >= 0; --i) {
        offset += index % t.size[i] * t.stride[i];
        index /= t.size[i];
    }
    return offset;
}

/* Whether the logical elements lie one behind the other, so that element `index` is data + index. */
GENFUSE_INLINE bool contiguous(const genfuse_tensor& t) {
    int64_t step = 1;
    bool is = true;
    for (int i = t.axes - 1; i >= 0; step *= t.size[i--]) is &= t.size[i] <= 1 || t.stride[i] == step;
    return is || step == 0;
}

GENFUSE_INLINE int64_t at(const genfuse_tensor& t, int64_t n, int64_t c, int64_t h, int64_t w) {
    return n * t.stride[0] + c * t.stride[1] + h * t.stride[2] + w * t.stride[3];
}

template <class To, class From>
GENFUSE_INLINE To bits(From from) {
    union {
        From from;
        To to;
    } both;
    both.from = from;
    return both.to;
}

GENFUSE_INLINE float from_bfloat16(uint16_t half) {
    return bits<float>(static_cast<uint32_t>(half) << 16);
}
/* To nearest, ties to even; NaN stays one. */
GENFUSE_INLINE uint16_t to_bfloat16(float value) {
    const uint32_t u = bits<uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(u >> 16 | 0x40u);
    return static_cast<uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
GENFUSE_INLINE float from_float16(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, low = half & 0x7fffu;
    if (low >= 0x7c00u) return bits<float>(sign | 0x7f800000u | (low & 0x3ffu) << 13);
    if (low < 0x400u)
        return bits<float>(sign | bits<uint32_t>(static_cast<float>(low) * 5.9604644775390625e-8f));
    return bits<float>(sign | ((low << 13) + 0x38000000u));
}
GENFUSE_INLINE uint16_t to_float16(float value) {
    const uint32_t u = bits<uint32_t>(value), sign = u >> 16 & 0x8000u, size = u & 0x7fffffffu;
    if (size > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
    if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (size < 0x38800000u) {  // subnormal: adding ½ lets the addition round
        const uint32_t rounded = bits<uint32_t>(bits<float>(size) + 0.5f) - 0x3f000000u;
        return static_cast<uint16_t>(sign | rounded);
    }
    return static_cast<uint16_t>(sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13);
}

/* An element of any dtype. */
GENFUSE_INLINE double load(const genfuse_tensor& t, int64_t place) {
    switch (t.dtype) {
        case GENFUSE_FLOAT32:
            return static_cast<const float*>(t.data)[place];
        case GENFUSE_FLOAT64:
            return static_cast<const double*>(t.data)[place];
        case GENFUSE_BFLOAT16:
            return from_bfloat16(static_cast<const uint16_t*>(t.data)[place]);
        case GENFUSE_FLOAT16:
            return from_float16(static_cast<const uint16_t*>(t.data)[place]);
        case GENFUSE_INT64:
            return static_cast<double>(static_cast<const int64_t*>(t.data)[place]);
        default:
            return static_cast<const uint8_t*>(t.data)[place];
    }
}
GENFUSE_INLINE void store(const genfuse_tensor& t, int64_t place, double value) {
    switch (t.dtype) {
        case GENFUSE_FLOAT64:
            static_cast<double*>(t.data)[place] = value;
            break;
        case GENFUSE_BFLOAT16:
            static_cast<uint16_t*>(t.data)[place] = to_bfloat16(static_cast<float>(value));
            break;
        case GENFUSE_FLOAT16:
            static_cast<uint16_t*>(t.data)[place] = to_float16(static_cast<float>(value));
            break;
        default:
            static_cast<float*>(t.data)[place] = static_cast<float>(value);
    }
}

/* Philox4x32-10 (Salmon et al., SC11): four words of a counter and a key. */
GENFUSE_INLINE void philox(uint64_t seed, uint64_t block, uint32_t row, uint32_t stream, uint32_t* w) {
    uint32_t low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
    w[0] = static_cast<uint32_t>(block), w[1] = static_cast<uint32_t>(block >> 32), w[2] = row, w[3] = stream;
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = static_cast<uint64_t>(0xD2511F53u) * w[0],
                       b = static_cast<uint64_t>(0xCD9E8D57u) * w[2];
        const uint32_t first = static_cast<uint32_t>(b >> 32) ^ w[1] ^ low;
        const uint32_t third = static_cast<uint32_t>(a >> 32) ^ w[3] ^ high;
        w[0] = first, w[1] = static_cast<uint32_t>(b), w[2] = third, w[3] = static_cast<uint32_t>(a);
        low += 0x9E3779B9u, high += 0xBB67AE85u;
    }
}
GENFUSE_INLINE double uniform(uint32_t word) {
    return ((word >> 9) + 0.5) * (1.0 / 8388608.0);
}
/* The normal number of a sample's element: `philox_normal`'s contract. */
GENFUSE_INLINE double normal(uint64_t seed, uint64_t element, uint32_t row, uint32_t stream) {
    uint32_t w[4];
    philox(seed, element / 4, row, stream, w);
    const uint32_t* pair = w + element % 4 / 2 * 2;
    const double radius = sqrt(-2.0 * log(uniform(pair[0]))), angle = 6.283185307179586 * uniform(pair[1]);
    return radius * (element % 2 ? sin(angle) : cos(angle));
}

}  // namespace genfuse

#if !defined(__CUDACC_RTC__) && !defined(GENFUSE_EMULATED) && defined(__cplusplus)
#include <thread>
#include <vector>

namespace genfuse {

/* body(begin, end) for pieces of 0 .. count, on as many threads. */
template <class Body>
void parallel(int64_t threads, int64_t count, const Body& body) {
    if (threads > count) threads = count;
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; ++i)
        others.emplace_back(
            [&body, i, threads, count] { body(count * i / threads, count * (i + 1) / threads); });
    if (count > 0) body(0, count / (threads > 1 ? threads : 1));
    for (std::thread& other : others) other.join();
}

}  // namespace genfuse
#endif
