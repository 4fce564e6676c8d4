#include "common/arena.h"

#include <atomic>
#include <memory>
#include <new>

#include "common/pages.h"
#include "common/thread_key.h"

namespace genfuse {
namespace {

std::atomic<size_t> held_bytes{0}, peak_bytes{0};

class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    ~Arena() { release(); }

    void* at_least(size_t bytes) {
        if (bytes <= bytes_) return memory_;
        const size_t rounded = whole_pages(bytes);
        void* const memory = fresh_pages(rounded);
        if (!memory) throw std::bad_alloc();
        release();
        memory_ = memory;
        bytes_ = rounded;
        const size_t held = held_bytes.fetch_add(rounded) + rounded;
        size_t peak = peak_bytes.load();
        while (held > peak && !peak_bytes.compare_exchange_weak(peak, held)) {
        }
        return memory_;
    }

  private:
    void* memory_ = nullptr;
    size_t bytes_ = 0;

    void release() {
        give_back(memory_, bytes_);
        held_bytes.fetch_sub(bytes_);
        memory_ = nullptr;
        bytes_ = 0;
    }
};

}  // namespace

void* thread_arena(size_t bytes) {
    static const ThreadKey own([](void* arena) { delete static_cast<Arena*>(arena); });
    auto* arena = static_cast<Arena*>(own.get());
    if (!arena) {
        auto fresh = std::make_unique<Arena>();
        if (!own.set(fresh.get())) throw std::bad_alloc();
        arena = fresh.release();
    }
    return arena->at_least(bytes);
}

size_t arena_peak_bytes() {
    return peak_bytes.load();
}

}  // namespace genfuse
