#include "embed/guarded.h"

#include <stdlib.h>
#include <string.h>

#include "common/thread_key.h"
#include "include/genfuse.h"

namespace genfuse {
namespace {

const ThreadKey& messages() {
    static const ThreadKey key(free);
    return key;
}

}  // namespace

genfuse_status report(genfuse_status status, const char* text) noexcept {
    char* kept = static_cast<char*>(messages().get());
    if (!kept) {
        kept = static_cast<char*>(malloc(kErrorText));
        if (!kept) return status;
        if (!messages().set(kept)) {
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
    const char* const kept = static_cast<const char*>(genfuse::messages().get());
    return kept ? kept : "";
}
