#include "common/pages.h"

#include <stdint.h>
#include <stdlib.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace genfuse {

#if defined(__linux__)
void* fresh_pages(size_t bytes) {
    const size_t with_room = bytes + kHugePage;
    if (with_room < bytes) return nullptr;
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

}  // namespace genfuse
