#include "common/cpuid.h"

#include <atomic>

#if defined(GENFUSE_X86)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace genfuse {
namespace {

Isa best_isa() {
    for (int isa = kIsas - 1; isa > 0; --isa) {
        if (isa_available(static_cast<Isa>(isa))) return static_cast<Isa>(isa);
    }
    return Isa::baseline;
}

#if defined(GENFUSE_X86)
// Linux saves the matrix unit's eight kilobytes only for processes that have asked to use it.
bool matrix_unit_available() {
#if defined(__linux__) && defined(__x86_64__)
    constexpr unsigned kLeaf = 7, kBf16 = 1u << 22, kTiles = 1u << 24;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    unsigned a = 0, b = 0, c = 0, d = 0;
    static const bool available = __get_cpuid_count(kLeaf, 0, &a, &b, &c, &d) && (d & kBf16) &&
                                  (d & kTiles) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    return available;
#else
    return false;
#endif
}
#endif

std::atomic<Isa>& chosen_isa() {
    static std::atomic<Isa> isa{best_isa()};
    return isa;
}

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::amx_bf16:
            return "amx_bf16";
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
    if (isa >= Isa::avx512) {
        if (GENFUSE_EMULATE_AVX512) return true;
        if (isa >= Isa::avx512_bf16 && !__builtin_cpu_supports("avx512bf16")) return false;
        if (isa == Isa::amx_bf16 && !matrix_unit_available()) return false;
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
