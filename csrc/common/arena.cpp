#include "common/arena.h"

#include <stdlib.h>

#include <atomic>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace genfuse {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

std::atomic<size_t> held_bytes{0}, peak_bytes{0};

class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    ~Arena() { release(); }

    void* at_least(size_t bytes) {
        if (bytes <= bytes_) return memory_;
        const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
        void* const memory = aligned_alloc(kHugePage, rounded);
        if (!memory) throw std::bad_alloc();
#if defined(__linux__)
        madvise(memory, rounded,
                MADV_HUGEPAGE);  // a page table walk every 4 KiB costs more than the arithmetic
#endif
        release();
        memory_ = memory;
        bytes_ = rounded;
        const size_t held = held_bytes.fetch_add(rounded) + rounded;
        size_t peak = peak_bytes.load();
        while (held > peak && !peak_bytes.compare_exchange_weak(peak, held)) {
        }
        return memory_;
    }

  private:
    void* memory_ = nullptr;
    size_t bytes_ = 0;

    void release() {
        free(memory_);
        held_bytes.fetch_sub(bytes_);
        memory_ = nullptr;
        bytes_ = 0;
    }
};

}  // namespace

void* thread_arena(size_t bytes) {
    thread_local Arena arena;
    return arena.at_least(bytes);
}

size_t arena_peak_bytes() {
    return peak_bytes.load();
}

}  // namespace genfuse
