// Copies of 16 bytes from global to shared memory that arrive later: cp.async of sm_80.
#pragma once

#include "common/cuda/stored.h"

namespace genfuse {

// copy16 starts a copy, or of what does not exist zeros; `from` may be read only where it does.
// commit_copies closes a group of the thread's copies. wait_for_copies<n> ends when all its groups but the
// latest n have arrived; other threads see them behind a barrier.
#ifdef __CUDA_ARCH__
__device__ inline void copy16(void* to, const void* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(static_cast<uint32>(__cvta_generic_to_shared(to))),
                   "l"(__cvta_generic_to_global(from)), "r"(exists ? 16 : 0)
                 : "memory");
}
__device__ inline void commit_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int Latest>
__device__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" : : "n"(Latest) : "memory");
}
#else
// The plain twin copies as late as may be, so that what reads too early finds what was there before, or at
// once, so that what is still read is overwritten.
inline void copy16(void* to, const void* from, bool exists) {
    emulation::copy_async(to, exists ? from : nullptr);
}
inline void commit_copies() {
    emulation::commit_copies();
}
template <int Latest>
void wait_for_copies() {
    emulation::make_copies(Latest);
}
#endif

}  // namespace genfuse
