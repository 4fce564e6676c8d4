// Memory straight from the system.
#pragma once

#include <stddef.h>

namespace genfuse {

constexpr size_t kHugePage = size_t{2} << 20;

inline size_t whole_pages(size_t bytes) {
    return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

// Pages that nobody has touched yet, so that the kernel can give huge ones: a page table walk every 4 KiB
// costs more than the arithmetic, and memory that an allocator hands out again is in small pages already.
// `bytes` are whole huge pages. NULL where there is not enough.
void* fresh_pages(size_t bytes);

// Takes back what fresh_pages gave, or NULL.
void give_back(void* pages, size_t bytes);

}  // namespace genfuse
