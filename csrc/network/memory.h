// Memory that starts at a cache line.
#pragma once

#include <stdlib.h>
#include <string.h>

#include <memory>
#include <new>

namespace genfuse {

struct FreeBlock {
    void operator()(char* block) const { free(block); }
};
using Block = std::unique_ptr<char, FreeBlock>;

// `bytes` bytes of zeros. Throws std::bad_alloc.
inline Block make_block(size_t bytes) {
    void* block = nullptr;
    if (posix_memalign(&block, 64, bytes ? bytes : 1) != 0) throw std::bad_alloc();
    memset(block, 0, bytes);
    return Block(static_cast<char*>(block));
}

}  // namespace genfuse
