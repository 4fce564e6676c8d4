// Large blocks of memory for results, kept when they are free: the C library returns blocks of this size to
// the system, and each new page that it gets back is filled with zeros first, which takes a third of a
// convolution's time.
#pragma once

#include <stddef.h>

namespace genfuse {
namespace block_cache {

struct Block {
    void* data;
    size_t bytes;
};

// At least `bytes` bytes, aligned to a huge page, with whatever was there. Throws std::bad_alloc.
Block take(size_t bytes);

// Takes a block back; the ones that were free for longest go where the free ones pass the limit.
void give(Block block) noexcept;

struct Held {
    size_t used, free, limit;  // bytes
};
Held held();

// The most bytes of free blocks that are kept.
void set_limit(size_t bytes);

// Returns all free blocks to the system.
void empty();

}  // namespace block_cache
}  // namespace genfuse
