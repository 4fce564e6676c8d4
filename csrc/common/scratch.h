// A thread's own working memory, kept between calls.
#pragma once

#include <stddef.h>

namespace genfuse {

// Bytes of `thread_scratch`: 16 tiles of float64 (common/tile.h).
constexpr size_t kScratchBytes = 16 * 2432 * sizeof(double);

// Whether the calling thread has its memory, or got it now.
bool has_scratch();

// kScratchBytes of memory, aligned to 64 bytes, of the calling thread alone. Ends the process where there is
// not enough: ask `has_scratch` before work that must not.
void* thread_scratch();

}  // namespace genfuse
