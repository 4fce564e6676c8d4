// Working memory that a thread keeps between calls.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace genfuse {

// At least `bytes` bytes of the calling thread's own, aligned to 64; what an earlier call got is gone. Kept
// until the thread ends. Throws std::bad_alloc and keeps the old memory where there is not enough.
void* thread_arena(size_t bytes);

// The most bytes that arenas of all threads have held together since the process started.
size_t arena_peak_bytes();

// Hands out aligned pieces of one allocation, in two rounds: first everything is counted, then placed.
class Carver {
  public:
    explicit Carver(void* base = nullptr) : base_(static_cast<char*>(base)) {}

    template <class T>
    T* take(int64_t count) {
        T* const piece = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
        used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
        return piece;
    }

    size_t used() const { return used_; }

  private:
    char* base_;
    size_t used_ = 0;
};

}  // namespace genfuse
