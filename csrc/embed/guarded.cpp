#include "embed/guarded.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "include/genfuse.h"

namespace genfuse {
namespace {

// The message lies behind a key of pthreads: memory of `thread_local` in a library that dlopen has loaded is
// taken when a thread first touches it, and where there is none the C library ends the process.
struct Key {
    pthread_key_t key{};
    bool made = pthread_key_create(&key, free) == 0;
};

const Key& messages() {
    static const Key key{};
    return key;
}

}  // namespace

genfuse_status report(genfuse_status status, const char* text) noexcept {
    const Key& own = messages();
    if (!own.made) return status;
    char* kept = static_cast<char*>(pthread_getspecific(own.key));
    if (!kept) {
        kept = static_cast<char*>(malloc(kErrorText));
        if (!kept) return status;
        if (pthread_setspecific(own.key, kept) != 0) {
            free(kept);
            return status;
        }
    }
    strncpy(kept, text, kErrorText - 1);
    kept[kErrorText - 1] = '\0';
    return status;
}

}  // namespace genfuse

const char* genfuse_last_error(void) {
    const genfuse::Key& own = genfuse::messages();
    const char* const kept = own.made ? static_cast<const char*>(pthread_getspecific(own.key)) : nullptr;
    return kept ? kept : "";
}
