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

#if defined(__linux__)
// Pages that nobody has touched yet, so that the kernel can give huge ones: a page table walk every 4 KiB
// costs more than the arithmetic, and memory that an allocator hands out again is in small pages already.
// `bytes` are whole huge pages. NULL where there is not enough.
void* fresh_pages(size_t bytes) {
    const size_t with_room = bytes + kHugePage;
    void* const mapped = mmap(nullptr, with_room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    char* const begin = static_cast<char*>(mapped);
    const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
    if (before > 0) munmap(begin, before);
    munmap(begin + before + bytes, kHugePage - before);
    madvise(begin + before, bytes, MADV_HUGEPAGE);
    return begin + before;
}

void give_back(void* pages, size_t bytes) {
    if (pages) munmap(pages, bytes);
}
#else
void* fresh_pages(size_t bytes) {
    return aligned_alloc(kHugePage, bytes);
}

void give_back(void* pages, size_t) {
    free(pages);
}
#endif

class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    ~Arena() { release(); }

    void* at_least(size_t bytes) {
        if (bytes <= bytes_) return memory_;
        const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
        void* const memory = fresh_pages(rounded);
        if (!memory) throw std::bad_alloc();
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
        give_back(memory_, bytes_);
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
