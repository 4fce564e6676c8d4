// One store of 16 bytes. In PTX, because behind offsets of 64 bits the compiler takes a vector's store apart.
#pragma once

#include "common/cuda/stored.h"

namespace genfuse {

#ifdef __CUDA_ARCH__
__device__ inline void store16(void* to, const uint32 (&word)[4]) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(to)), "r"(word[0]), "r"(word[1]), "r"(word[2]), "r"(word[3])
                 : "memory");
}
#else
// The plain twin; through a type of its alignment, which UndefinedBehaviourSanitizer checks.
inline void store16(void* to, const uint32 (&word)[4]) {
    struct alignas(16) Words {
        uint32 word[4];
    };
    *static_cast<Words*>(to) = {{word[0], word[1], word[2], word[3]}};
}
#endif

}  // namespace genfuse
