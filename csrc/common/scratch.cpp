#include "common/scratch.h"

namespace genfuse {

void* thread_scratch() {
    alignas(64) static thread_local unsigned char memory[kScratchBytes];
    return memory;
}

}  // namespace genfuse
