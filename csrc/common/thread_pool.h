// The threads that kernels run on: a team that the host program has already, or a pool of our own.
#pragma once

#include <stdint.h>

namespace genfuse {

// Chunks that one call may be split into.
constexpr int64_t kMaxChunks = 0xFFFF;

// Runs task(context, chunk, slot) for every chunk in [0, chunks), on at most `threads` threads, and returns
// when all are done. `slot`, below `threads`, is the running thread's number in this call: what it may keep
// its own working memory by. Chunks are claimed one by one and the caller claims too: where the workers come
// late, because other threads hold the cores, it does all the work itself and, in a pool of our own, waits
// for nobody who has not begun.
//
// May be called from several threads at once: only one call at a time has the workers, the others run alone.
// Works in a forked child, which starts workers of its own. `task` must not throw.
void parallel_for(int64_t chunks, int threads, void (*task)(void* context, int64_t chunk, int slot),
                  void* context);

// A host's OpenMP team, by the functions of its runtime: run(work, data, threads, 0) has `work(data)` run by
// that many threads, number() is the caller's among them. Its workers spin for milliseconds after each call:
// beside them workers of our own would find no core, as part of the team ours find them awake. NULL: none, a
// pool of our own. A forked child, in which OpenMP no longer works, leaves the team by itself.
struct Team {
    void (*run)(void (*work)(void* data), void* data, unsigned threads, unsigned flags);
    int (*number)();
};
void join_team(const Team& team);

// Whether kernels run on a host's team.
bool in_team();

}  // namespace genfuse
