// From a call to its kernel: one instruction set, one range of units a thread.
#pragma once

#include "common/cpuid.h"
#include "common/thread_pool.h"

// Declares void name(const Job&, int64_t first_unit, int64_t last_unit) of every instruction set.
#define GENFUSE_DECLARE_KERNEL(name, Job)                  \
    namespace baseline {                                   \
    void name(const Job& job, int64_t begin, int64_t end); \
    }                                                      \
    namespace avx2 {                                       \
    void name(const Job& job, int64_t begin, int64_t end); \
    }                                                      \
    namespace avx512 {                                     \
    void name(const Job& job, int64_t begin, int64_t end); \
    }

#if defined(GENFUSE_X86)
#define GENFUSE_KERNEL(name) \
    (current_isa() >= Isa::avx512 ? avx512::name : current_isa() == Isa::avx2 ? avx2::name : baseline::name)
#else
#define GENFUSE_KERNEL(name) (baseline::name)
#endif

namespace genfuse {

// Work, in elements combined, below which the pool is not woken: a guess, to be settled by a bench on quiet
// machines.
constexpr int64_t kParallelWork = 32768;

// Chunks a thread: enough that a late worker still finds work, few enough that claiming costs nothing.
constexpr int64_t kChunksPerThread = 8;

// Runs kernel(job, begin, end) over all of [0, units), split among the threads where `work` is worth it.
template <class Job>
void run_units(void (*kernel)(const Job&, int64_t, int64_t), const Job& job, int64_t units, int64_t work,
               int threads) {
    int64_t chunks = threads * kChunksPerThread;
    if (chunks > work / (kParallelWork / 4)) chunks = work / (kParallelWork / 4);
    if (chunks > units) chunks = units;
    if (chunks > kMaxChunks) chunks = kMaxChunks;
    if (threads <= 1 || chunks <= 1 || work < kParallelWork) {
        kernel(job, 0, units);
        return;
    }
    struct Split {
        void (*kernel)(const Job&, int64_t, int64_t);
        const Job* job;
        int64_t units, chunks;
    } split{kernel, &job, units, chunks};
    parallel_for(
        chunks, threads,
        [](void* context, int64_t chunk, int) {
            const Split& s = *static_cast<const Split*>(context);
            s.kernel(*s.job, s.units * chunk / s.chunks, s.units * (chunk + 1) / s.chunks);
        },
        &split);
}

// Runs unit(job, i, slot) for all i in [0, units), whatever the work; slots are threads, each with memory of
// its own.
template <class Job>
void run_slots(void (*unit)(const Job&, int64_t, int), const Job& job, int64_t units, int threads) {
    struct Call {
        void (*unit)(const Job&, int64_t, int);
        const Job* job;
        int64_t units, chunks;
    } call{unit, &job, units, units < kMaxChunks ? units : kMaxChunks};
    parallel_for(
        call.chunks, threads,
        [](void* context, int64_t chunk, int slot) {
            const Call& c = *static_cast<const Call*>(context);
            const int64_t end = c.units * (chunk + 1) / c.chunks;
            for (int64_t i = c.units * chunk / c.chunks; i < end; ++i) c.unit(*c.job, i, slot);
        },
        &call);
}

}  // namespace genfuse
