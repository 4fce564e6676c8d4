#include "common/cpuid.h"

#include <atomic>

namespace genfuse {
namespace {

Isa best_isa() {
    for (int isa = kIsas - 1; isa > 0; --isa) {
        if (isa_available(static_cast<Isa>(isa))) return static_cast<Isa>(isa);
    }
    return Isa::baseline;
}

std::atomic<Isa>& chosen_isa() {
    static std::atomic<Isa> isa{best_isa()};
    return isa;
}

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::avx512_bf16:
            return "avx512_bf16";
        case Isa::avx512:
            return "avx512";
        case Isa::avx2:
            return "avx2";
        default:
            return "baseline";
    }
}

// __builtin_cpu_supports asks cpuid, and xgetbv whether the operating system saves the registers.
bool isa_available(Isa isa) {
#if defined(GENFUSE_X86)
    __builtin_cpu_init();
    if (isa == Isa::avx512 || isa == Isa::avx512_bf16) {
        if (GENFUSE_EMULATE_AVX512) return true;
        if (isa == Isa::avx512_bf16 && !__builtin_cpu_supports("avx512bf16")) return false;
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    }
    if (isa == Isa::avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("f16c");
    }
#endif
    return isa == Isa::baseline;
}

Isa current_isa() {
    return chosen_isa().load(std::memory_order_relaxed);
}

bool set_isa(Isa isa) {
    if (!isa_available(isa)) return false;
    chosen_isa().store(isa, std::memory_order_relaxed);
    return true;
}

}  // namespace genfuse
