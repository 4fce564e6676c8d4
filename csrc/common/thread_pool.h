// The one thread pool of the process.
#pragma once

#include <stdint.h>

namespace genfuse {

// Chunks that one call may be split into.
constexpr int64_t kMaxChunks = 0xFFFF;

// Runs task(context, chunk, slot) for every chunk in [0, chunks), on at most `threads` threads, and returns
// when all are done. `slot`, below `threads`, is the running thread's number in this call: what it may keep
// its own working memory by. Chunks are claimed one by one and the caller claims too: where the workers come
// late, because other threads hold the cores, it does all the work itself and waits for nobody who has not
// begun.
//
// May be called from several threads at once: only one call at a time has the workers, the others run alone.
// Works in a forked child, which starts workers of its own. `task` must not throw.
void parallel_for(int64_t chunks, int threads, void (*task)(void* context, int64_t chunk, int slot),
                  void* context);

}  // namespace genfuse
