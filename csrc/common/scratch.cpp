#include "common/scratch.h"

#include <pthread.h>
#include <stdlib.h>

namespace genfuse {
namespace {

// Behind a key of pthreads: memory of `thread_local` in a library that dlopen has loaded is taken when a
// thread first touches it, and where there is none the C library ends the process.
struct Key {
    pthread_key_t key{};
    bool made = pthread_key_create(&key, free) == 0;
};

void* find_scratch() {
    static const Key own{};
    if (!own.made) return nullptr;
    void* memory = pthread_getspecific(own.key);
    if (memory) return memory;
    if (posix_memalign(&memory, 64, kScratchBytes) != 0) return nullptr;
    if (pthread_setspecific(own.key, memory) == 0) return memory;
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
