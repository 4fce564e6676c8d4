#include "common/scratch.h"

#include <stdlib.h>

#include "common/thread_key.h"

namespace genfuse {
namespace {

void* find_scratch() {
    static const ThreadKey own(free);
    void* memory = own.get();
    if (memory) return memory;
    if (posix_memalign(&memory, 64, kScratchBytes) != 0) return nullptr;
    if (own.set(memory)) return memory;
    free(memory);
    return nullptr;
}

}  // namespace

bool has_scratch() {
    return find_scratch() != nullptr;
}

void* thread_scratch() {
    void* const memory = find_scratch();
    if (!memory) abort();
    return memory;
}

}  // namespace genfuse
