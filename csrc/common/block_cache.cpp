#include "common/block_cache.h"

#include <pthread.h>

#include <deque>
#include <mutex>
#include <new>

#include "common/pages.h"

namespace genfuse {
namespace block_cache {
namespace {

constexpr size_t kLimit = size_t{512} << 20;
constexpr size_t kSlack = 2;  // times what is wanted that a block may have

struct Cache {
    std::mutex mutex;
    std::deque<Block> free;  // free for longest first
    size_t used_bytes = 0, free_bytes = 0, limit = kLimit;

    void shrink(size_t most) {
        while (free_bytes > most) {
            free_bytes -= free.front().bytes;
            give_back(free.front().data, free.front().bytes);
            free.pop_front();
        }
    }

    // The smallest free block that fits, taken out; without data where there is none.
    Block find(size_t bytes) {
        auto best = free.end();
        for (auto block = free.begin(); block != free.end(); ++block) {
            if (block->bytes < bytes || block->bytes / kSlack > bytes) continue;
            if (best == free.end() || block->bytes <= best->bytes) best = block;
        }
        if (best == free.end()) return {nullptr, 0};
        const Block block = *best;
        free.erase(best);
        free_bytes -= block.bytes;
        return block;
    }
};

Cache* cache = nullptr;  // never destroyed: tensors may outlive every static object

// A child gets the lock as free as its parent has it.
void before_fork() {
    cache->mutex.lock();
}
void after_fork() {
    cache->mutex.unlock();
}

Cache& the_cache() {
    static const bool registered = [] {
        cache = new Cache;
        return pthread_atfork(before_fork, after_fork, after_fork) == 0;
    }();
    (void)registered;
    return *cache;
}

}  // namespace

Block take(size_t bytes) {
    Cache& all = the_cache();
    const size_t rounded = bytes ? whole_pages(bytes) : kHugePage;
    if (rounded < bytes) throw std::bad_alloc();
    {
        const std::lock_guard<std::mutex> lock(all.mutex);
        const Block block = all.find(rounded);
        all.used_bytes += block.bytes;
        if (block.data) return block;
    }
    void* data = fresh_pages(rounded);
    if (!data) {  // what is free may be what is missing
        empty();
        data = fresh_pages(rounded);
    }
    if (!data) throw std::bad_alloc();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.used_bytes += rounded;
    return {data, rounded};
}

void give(Block block) noexcept {
    Cache& all = the_cache();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.used_bytes -= block.bytes;
    try {
        all.free.push_back(block);
    } catch (const std::bad_alloc&) {
        give_back(block.data, block.bytes);
        return;
    }
    all.free_bytes += block.bytes;
    all.shrink(all.limit);
}

Held held() {
    Cache& all = the_cache();
    const std::lock_guard<std::mutex> lock(all.mutex);
    return {all.used_bytes, all.free_bytes, all.limit};
}

void set_limit(size_t bytes) {
    Cache& all = the_cache();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.limit = bytes;
    all.shrink(bytes);
}

void empty() {
    Cache& all = the_cache();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.shrink(0);
}

}  // namespace block_cache
}  // namespace genfuse
