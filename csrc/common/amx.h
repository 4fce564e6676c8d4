// The processor's matrix unit (AMX): eight registers of 16 rows of 64 bytes, and one instruction that
// multiplies two of them. Where it is not compiled in, the same in loops.
#pragma once

#include "common/half.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {
namespace amx {

constexpr int kRows = 16;   // of a register
constexpr int kDepth = 32;  // of a product: bfloat16 in a row of its left factor
constexpr int64_t kRegisterBytes = 1024;

#if GENFUSE_VECTOR_BYTES == 64 && defined(__AVX512F__)

// As text: the intrinsics would want all of their callers compiled for processors that have the unit.
template <int to>
GENFUSE_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(to));
}

// 16 rows of 64 bytes, `stride` bytes apart.
template <int to>
GENFUSE_INLINE void load(const void* from, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(to) : "memory");
}

template <int from>
GENFUSE_INLINE void store(void* to, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(from) : "memory");
}

// sum[i][j] += Σ left[i][2p]·right[p][2j] + left[i][2p + 1]·right[p][2j + 1] over 16 pairs p, in order:
// factors are bfloat16, the sums float32. Denormal factors and sums count as zero.
template <int sum, int left, int right>
GENFUSE_INLINE void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(left), "i"(right));
}

// Both rounded to bfloat16, the second behind the first; denormal values become zero, which the unit takes
// them for anyway.
GENFUSE_INLINE void store_factors(void* to, f32 first, f32 second) {
    f32 both;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first), "v"(second));
    genfuse::GENFUSE_ISA::store(to, both);
}

// The unit in use by this thread, for as long as the object lives.
class Use {
  public:
    Use() {
        alignas(64) uint8_t layout[64] = {1};  // the palette of eight registers; rows' bytes, then rows
        for (int i = 0; i < 8; ++i) {
            layout[16 + 2 * i] = 64;
            layout[48 + i] = kRows;
        }
        __asm__ volatile("ldtilecfg %0" ::"m"(layout));
    }
    ~Use() { __asm__ volatile("tilerelease"); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
};

#else

using Registers = uint8_t[8][kRegisterBytes];

// In the initial-exec model it exists in every thread from its start: otherwise a library that dlopen has
// loaded takes memory when a thread first touches it. A pointer alone, since there are few bytes for that.
inline Registers*& in_use() {
    __attribute__((tls_model("initial-exec"))) static thread_local Registers* all = nullptr;
    return all;
}

inline Registers& registers() {
    return *in_use();
}

template <int to>
void zero() {
    __builtin_memset(registers()[to], 0, kRegisterBytes);
}

template <int to>
void load(const void* from, int64_t stride) {
    for (int row = 0; row < kRows; ++row) {
        __builtin_memcpy(registers()[to] + row * 64, static_cast<const char*>(from) + row * stride, 64);
    }
}

template <int from>
void store(void* to, int64_t stride) {
    for (int row = 0; row < kRows; ++row) {
        __builtin_memcpy(static_cast<char*>(to) + row * stride, registers()[from] + row * 64, 64);
    }
}

template <int sum, int left, int right>
void multiply() {
    uint16_t a[kRows][kDepth], b[kRows][kDepth];
    float c[kRows][16];
    __builtin_memcpy(a, registers()[left], sizeof a);
    __builtin_memcpy(b, registers()[right], sizeof b);
    __builtin_memcpy(c, registers()[sum], sizeof c);
    const auto value = [](uint16_t half) {
        const uint32_t bits = uint32_t{half} << 16;
        float wide;
        __builtin_memcpy(&wide, &bits, sizeof wide);
        return wide;
    };
    for (int i = 0; i < kRows; ++i) {
        for (int j = 0; j < 16; ++j) {
            for (int k = 0; k < kDepth; ++k) c[i][j] += value(a[i][k]) * value(b[k / 2][2 * j + k % 2]);
        }
    }
    __builtin_memcpy(registers()[sum], c, sizeof c);
}

GENFUSE_INLINE void store_factors(void* to, f32 first, f32 second) {
    narrow(static_cast<bfloat16*>(to), first);
    narrow(static_cast<bfloat16*>(to) + kLanes<float>, second);
}

class Use {
  public:
    Use() { in_use() = &all_; }
    ~Use() { in_use() = nullptr; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

  private:
    Registers all_;
};

#endif

// The sums of up to 2 x 2 products, in registers 0 to 3: `tall` rows of 16, at `upper` and `lower`, `wide` of
// them side by side, `right` floats apart; `stride` bytes from a row of one to its next.
template <int tall, int wide>
GENFUSE_INLINE void begin_sums(const float* upper, const float* lower, int64_t right, int64_t stride,
                               bool fresh) {
    if (fresh) {
        zero<0>();
        if (wide > 1) zero<1>();
        if (tall > 1) zero<2>();
        if (tall > 1 && wide > 1) zero<3>();
    } else {
        load<0>(upper, stride);
        if (wide > 1) load<1>(upper + right, stride);
        if (tall > 1) load<2>(lower, stride);
        if (tall > 1 && wide > 1) load<3>(lower + right, stride);
    }
}

template <int tall, int wide>
GENFUSE_INLINE void end_sums(float* upper, float* lower, int64_t right, int64_t stride) {
    store<0>(upper, stride);
    if (wide > 1) store<1>(upper + right, stride);
    if (tall > 1) store<2>(lower, stride);
    if (tall > 1 && wide > 1) store<3>(lower + right, stride);
}

}  // namespace amx
}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
