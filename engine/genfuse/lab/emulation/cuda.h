// CUDA's language for the host compiler: the kernels of csrc/<op>/cuda.cu run as they stand, one fiber a
// thread. Included before them.
//
// One block after the other; in a block one thread after the other, each up to the next barrier or warp
// primitive. What is wrong stops the process with a message: barriers that not all threads reach or that
// they meet at different lines, warp primitives whose mask lacks the caller, on whose mask the lanes
// disagree, or that wait for a lane that has left. Shared memory comes filled with NaN, each array with
// memory of its own, so that AddressSanitizer knows its end; ThreadSanitizer sees a fiber as a thread, with
// barriers alone for order.
// A lane may wait with one mask while others exchange with another.
// An asynchronous copy is made when it is waited for, not before; in the reverse order of threads at once.
// Not covered: clusters, other atomics, textures, more than one axis of threads.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)

namespace emulation {

struct Coordinates {
    unsigned x, y, z;
};

enum ThreadOrder { kForward, kReverse, kShuffled };

// Runs `kernel(arguments)` in each of `blocks` · `threads` threads; `shared`: bytes of dynamic shared memory.
void launch(unsigned blocks, unsigned threads, ThreadOrder order, void (*kernel)(const void*),
            const void* arguments, size_t shared = 0);

// Of the running thread.
Coordinates thread_index();
Coordinates block_index();

void block_barrier(int line);
void warp_barrier(unsigned mask, int line);

// Into `values`, `bytes` apart, those of all lanes in the mask.
void gather(unsigned mask, const void* value, size_t bytes, void* values, int line);

// The array of the running block that this declaration stands for.
void* shared_memory(const void* declaration, size_t bytes);

template <class T>
T* shared_memory(const void* declaration, size_t count) {
    return static_cast<T*>(shared_memory(declaration, count * sizeof(T)));
}

// What `launch` was told of, of the running block.
void* dynamic_shared_memory();

// Eight lanes read 16 bytes of shared memory each, at these addresses: those in the same banks wait for each
// other, and each turn beyond the first counts.
void count_bank_conflicts(const void* const* rows);

// Those of all launches so far.
size_t bank_conflicts();

// 16 bytes each; `from` null: zeros.
struct Copy {
    void* to;
    const void* from;
};

bool copies_at_once();
void copy_later(const Copy& copy);
void commit_copies();

// The running thread's next copy that is not of its latest `groups` groups; whether there is one.
bool next_copy(unsigned groups, Copy* copy);

// Here, where the sanitizers see the accesses.
inline void make(const Copy& copy) {
    struct alignas(16) Bytes {
        unsigned char byte[16];
    };
    *static_cast<Bytes*>(copy.to) = copy.from ? *static_cast<const Bytes*>(copy.from) : Bytes{};
}

inline void copy_async(void* to, const void* from) {
    if (copies_at_once()) {
        make({to, from});
    } else {
        copy_later({to, from});
    }
}

inline void make_copies(unsigned groups) {
    for (Copy copy; next_copy(groups, &copy);) make(copy);
}

template <class To, class From>
To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    memcpy(&to, &from, sizeof(to));
    return to;
}

}  // namespace emulation

#define threadIdx (emulation::thread_index())
#define blockIdx (emulation::block_index())

inline void __syncthreads(int line = __builtin_LINE()) {
    emulation::block_barrier(line);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, int line = __builtin_LINE()) {
    emulation::warp_barrier(mask, line);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int line = __builtin_LINE()) {
    T values[32] = {};  // of a lane outside the mask: 0
    emulation::gather(mask, &value, sizeof(T), values, line);
    return values[lane & 31];
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int line = __builtin_LINE()) {
    return __shfl_sync(mask, value, static_cast<int>(threadIdx.x) ^ lanes, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int line = __builtin_LINE()) {
    const unsigned own = threadIdx.x & 31u, from = own + lanes;
    return __shfl_sync(mask, value, static_cast<int>(from < 32 ? from : own), line);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int line = __builtin_LINE()) {
    const unsigned own = threadIdx.x & 31u;
    return __shfl_sync(mask, value, static_cast<int>(own < lanes ? own : own - lanes), line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    const char vote = predicate != 0;
    char votes[32] = {};
    emulation::gather(mask, &vote, 1, votes, line);
    unsigned ballot = 0;
    for (int lane = 0; lane < 32; ++lane) ballot |= static_cast<unsigned>(votes[lane]) << lane;
    return ballot;
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return __ballot_sync(mask, predicate == 0, line) == 0;
}

// Of integers, without an order.
template <class T>
T atomicAdd(T* address, T value) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

template <class T>
T __ldg(const T* address) {
    return *address;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline int __float_as_int(float value) {
    return emulation::bits<int>(value);
}
inline unsigned __float_as_uint(float value) {
    return emulation::bits<unsigned>(value);
}
inline float __int_as_float(int value) {
    return emulation::bits<float>(value);
}
inline float __uint_as_float(unsigned value) {
    return emulation::bits<float>(value);
}
inline long long __double_as_longlong(double value) {
    return emulation::bits<long long>(value);
}
inline double __longlong_as_double(long long value) {
    return emulation::bits<double>(value);
}
template <class T>
T min(T a, T b) {
    return b < a ? b : a;
}
