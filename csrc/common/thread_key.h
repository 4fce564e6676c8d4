// A pointer of each thread's own.
//
// Behind a key of pthreads, not `thread_local`: of a library that dlopen has loaded, the memory of that is
// taken when a thread first touches it, and where there is none the C library ends the process.
#pragma once

#include <pthread.h>

namespace genfuse {

class ThreadKey {
  public:
    // `free` gets what a thread has set when that thread ends.
    explicit ThreadKey(void (*free)(void*)) : made_(pthread_key_create(&key_, free) == 0) {}

    // NULL where the thread has set none.
    void* get() const { return made_ ? pthread_getspecific(key_) : nullptr; }

    // Whether there was memory for it.
    bool set(void* value) const { return made_ && pthread_setspecific(key_, value) == 0; }

  private:
    pthread_key_t key_{};
    const bool made_;
};

}  // namespace genfuse
