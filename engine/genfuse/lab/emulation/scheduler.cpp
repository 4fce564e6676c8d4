// Runs the threads of a block as fibers. Compiled without the sanitizers, whose reports are about kernels;
// EMULATION_ASAN and EMULATION_TSAN say which of them has to be told of each switch.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "context.h"
#include "cuda.h"

extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* size);
void* __tsan_create_fiber(unsigned flags);
void* __tsan_get_current_fiber();
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}

namespace emulation {
namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr unsigned kNoOrder = 1;  // of __tsan_switch_to_fiber: a switch orders nothing
constexpr size_t kLargestValue = 32;
constexpr size_t kMostShared = 16;  // arrays of a block

void acquire([[maybe_unused]] void* address) {
#ifdef EMULATION_TSAN
    __tsan_acquire(address);
#endif
}

void release([[maybe_unused]] void* address) {
#ifdef EMULATION_TSAN
    __tsan_release(address);
#endif
}

struct Fiber {
    Context context;
    void* stack = nullptr;  // null: the scheduler's own
    size_t stack_bytes = 0;
    void* fake_stack = nullptr;
    void* of_tsan = nullptr;
    unsigned thread = 0;
    bool started = false, left = false, waits = false;
    int line = 0;  // of the barrier where it waits
};

struct Barrier {
    unsigned arrived = 0;  // of a warp's: the lanes; of a block's: how many
    unsigned mask = 0;     // of a warp's; 0: free
    int line = 0;
    unsigned generation = 0;
    char tokens[2];  // what this meeting orders and the one before, which some have not left yet

    char* arrive() {
        char* const token = &tokens[generation % 2];
        release(token);
        return token;
    }
    void open() {
        arrived = mask = 0;
        ++generation;
    }
};

struct Warp {
    Barrier barriers[32];  // lanes may wait with one mask while others exchange with another
    unsigned left = 0;     // lanes
    unsigned char values[32][kLargestValue];
    unsigned char gathered[32][32][kLargestValue];  // for each lane, until its next warp primitive

    void reset() {
        for (Barrier& barrier : barriers) barrier = Barrier();
        left = 0;
    }
};

// Of a thread, until they are made.
struct Copies {
    static constexpr size_t kMost = 4096;
    std::vector<Copy> copies;
    std::vector<size_t> groups;  // where each ends
    size_t made = 0;

    void reset() {
        copies.clear();
        copies.reserve(kMost);
        groups.clear();
        groups.reserve(kMost);
        made = 0;
    }
};

struct Shared {
    const void* declaration;
    void* memory;
};

// Nothing of it is allocated by a kernel's thread: ThreadSanitizer watches the allocator.
struct Block {
    Coordinates index{};
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<Copies> copies;
    size_t dynamic_bytes = 0;
    bool copies_at_once = false;
    Barrier barrier;
    std::vector<Shared> shared;
    Fiber* running = nullptr;
};

Fiber scheduler;
Block block;
// Of earlier blocks, until the end of the launch, which all threads are ordered before: ThreadSanitizer takes
// what is used again for the same.
std::vector<Shared> old_shared;
std::vector<Fiber> old_fibers;
void (*body)(const void*);
const void* arguments_of_body;
char launch_token, end_token, shared_token;
size_t conflicts = 0;

[[noreturn]] void fail(const char* what) {
    fprintf(stderr, "emulated CUDA: %s, in block %u\n", what, block.index.x);
    int listed = 0;
    for (const Fiber& fiber : block.fibers) {
        if (fiber.waits && listed++ < 8)
            fprintf(stderr, "  thread %u waits at line %d\n", fiber.thread, fiber.line);
    }
    abort();
}

void switch_to(Fiber* from, Fiber* to) {
    block.running = to;
#ifdef EMULATION_ASAN
    __sanitizer_start_switch_fiber(from->left ? nullptr : &from->fake_stack, to->stack, to->stack_bytes);
#endif
#ifdef EMULATION_TSAN
    __tsan_switch_to_fiber(to->of_tsan, kNoOrder);
#endif
    Context::exchange(&from->context, &to->context);
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

void wait(int line) {
    Fiber* const self = block.running;
    self->waits = true;
    self->line = line;
    switch_to(self, &scheduler);
}

// Not by a call of memcpy, which ThreadSanitizer watches.
void copy(unsigned char* to, const void* from, size_t bytes) {
    const auto* const source = static_cast<const unsigned char*>(from);
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) __builtin_memcpy(to + i, source + i, 8);  // one instruction
    for (; i < bytes; ++i) to[i] = source[i];
}

Warp& own_warp() {
    return block.warps[block.running->thread / 32];
}

// What a barrier of the mask's lanes is; the last of them hands each the values of all.
void exchange(unsigned mask, const void* value, size_t bytes, int line) {
    Warp& warp = own_warp();
    const unsigned number = block.running->thread % 32, lane = 1u << number;
    if (!(mask & lane)) fail("a warp primitive's mask lacks the calling lane");
    if (mask & warp.left) fail("a warp primitive waits for a lane that has left");
    Barrier* barrier = nullptr;
    for (Barrier& other : warp.barriers) {
        if (other.mask == mask || (other.mask == 0 && !barrier)) barrier = &other;
        if (other.mask != mask && other.mask & lane && other.line == line) {
            fail("lanes disagree on a warp primitive's mask");
        }
    }
    copy(warp.values[number], value, bytes);
    barrier->mask = mask;
    barrier->line = line;
    barrier->arrived |= lane;
    char* const token = barrier->arrive();
    if (barrier->arrived != mask) {
        wait(line);
    } else {
        const unsigned first = block.running->thread / 32 * 32;
        for (unsigned i = 0; i < 32; ++i) {
            if (!(mask >> i & 1)) continue;
            block.fibers[first + i].waits = false;
            for (unsigned from = 0; from < 32; ++from) copy(warp.gathered[i][from], warp.values[from], bytes);
        }
        barrier->open();
    }
    acquire(token);
}

void run_thread() {
#ifdef EMULATION_ASAN
    const void* bottom;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &scheduler.stack_bytes);
    scheduler.stack = const_cast<void*>(bottom);
#endif
    acquire(&launch_token);
    body(arguments_of_body);
    release(&end_token);
    Fiber* const self = block.running;
    self->left = true;
    Warp& warp = own_warp();
    warp.left |= 1u << self->thread % 32;
    for (const Barrier& barrier : warp.barriers) {
        if (barrier.mask & warp.left) fail("a warp primitive waits for a lane that has left");
    }
    switch_to(self, &scheduler);
}

void start(Fiber* fiber) {
    fiber->stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fiber->stack == MAP_FAILED) fail("no memory for a thread's stack");
    fiber->stack_bytes = kStackBytes;
    fiber->started = true;
    fiber->context.begin(fiber->stack, kStackBytes, run_thread);
#ifdef EMULATION_TSAN
    fiber->of_tsan = __tsan_create_fiber(0);
#endif
}

void finish() {
    for (const Fiber& fiber : old_fibers) {
#ifdef EMULATION_TSAN
        __tsan_destroy_fiber(fiber.of_tsan);
#endif
        munmap(fiber.stack, kStackBytes);
    }
    old_fibers.clear();
    for (const Shared& array : old_shared) free(array.memory);
    old_shared.clear();
}

void run_block(unsigned index, const std::vector<unsigned>& order) {
    block.index = {index, 0, 0};
    block.fibers.assign(order.size(), Fiber());
    if (block.warps.size() < (order.size() + 31) / 32) block.warps.resize((order.size() + 31) / 32);
    for (Warp& warp : block.warps) warp.reset();
    if (block.copies.size() < order.size()) block.copies.resize(order.size());
    for (Copies& copies : block.copies) copies.reset();
    block.barrier = Barrier();
    block.shared.clear();
    block.shared.reserve(kMostShared);
    for (size_t i = 0; i < order.size(); ++i) block.fibers[i].thread = static_cast<unsigned>(i);
    for (size_t left = 0; left < order.size();) {
        bool progress = false;
        for (unsigned thread : order) {
            Fiber* const fiber = &block.fibers[thread];
            if (fiber->left || fiber->waits) continue;
            progress = true;
            if (!fiber->started) start(fiber);
            switch_to(&scheduler, fiber);
            left += fiber->left;
        }
        if (!progress) fail("not all threads reach a barrier");
    }
    old_fibers.insert(old_fibers.end(), block.fibers.begin(), block.fibers.end());
    old_shared.insert(old_shared.end(), block.shared.begin(), block.shared.end());
}

std::vector<unsigned> thread_order(unsigned threads, ThreadOrder order) {
    std::vector<unsigned> numbers(threads);
    std::iota(numbers.begin(), numbers.end(), 0u);
    if (order == kReverse) std::reverse(numbers.begin(), numbers.end());
    if (order == kShuffled) std::shuffle(numbers.begin(), numbers.end(), std::mt19937(threads));
    return numbers;
}

}  // namespace

void launch(unsigned blocks, unsigned threads, ThreadOrder order, void (*kernel)(const void*),
            const void* arguments, size_t shared) {
    block.dynamic_bytes = shared;
    block.copies_at_once = order == kReverse;
    body = kernel;
    arguments_of_body = arguments;
    scheduler = Fiber();
#ifdef EMULATION_TSAN
    scheduler.of_tsan = __tsan_get_current_fiber();
#endif
    release(&launch_token);
    for (unsigned i = 0; i < blocks; ++i) {
        run_block(order == kReverse ? blocks - 1 - i : i, thread_order(threads, order));
    }
    acquire(&end_token);
    finish();
}

Coordinates thread_index() {
    return {block.running->thread, 0, 0};
}

Coordinates block_index() {
    return block.index;
}

void block_barrier(int line) {
    Barrier& barrier = block.barrier;
    if (barrier.arrived > 0 && barrier.line != line) fail("threads of a block meet at different barriers");
    barrier.line = line;
    char* const token = barrier.arrive();
    if (++barrier.arrived < block.fibers.size()) {
        wait(line);
    } else {
        barrier.open();
        for (Fiber& fiber : block.fibers) fiber.waits = false;
    }
    acquire(token);
}

void warp_barrier(unsigned mask, int line) {
    exchange(mask, nullptr, 0, line);
}

void gather(unsigned mask, const void* value, size_t bytes, void* values, int line) {
    if (bytes > kLargestValue) fail("a warp primitive's value is larger than 32 bytes");
    exchange(mask, value, bytes, line);
    const auto& gathered = own_warp().gathered[block.running->thread % 32];
    for (unsigned i = 0; i < 32; ++i) {
        if (mask >> i & 1) copy(static_cast<unsigned char*>(values) + i * bytes, gathered[i], bytes);
    }
}

void* shared_memory(const void* declaration, size_t bytes) {
    const auto known = std::find_if(block.shared.begin(), block.shared.end(),
                                    [&](const Shared& array) { return array.declaration == declaration; });
    void* memory = known == block.shared.end() ? nullptr : known->memory;
    if (!memory) {
        if (block.shared.size() == kMostShared) fail("more shared arrays than the emulation holds");
        if (posix_memalign(&memory, 128, bytes)) fail("no memory for a shared array");
        memset(memory, 0xFF, bytes);
        block.shared.push_back({declaration, memory});
        release(&shared_token);
    }
    acquire(&shared_token);
    return memory;
}

void* dynamic_shared_memory() {
    static char declaration;
    return shared_memory(&declaration, block.dynamic_bytes);
}

void count_bank_conflicts(const void* const* rows) {
    constexpr size_t kLanes = 8, kRow = 16;  // all banks together hold a row of each lane
    const void* met[kLanes][kLanes];
    size_t counts[kLanes] = {}, turns = 1;
    for (size_t lane = 0; lane < kLanes; ++lane) {
        const size_t banks = reinterpret_cast<uintptr_t>(rows[lane]) / kRow % kLanes;
        const void** const end = met[banks] + counts[banks];
        if (std::find(met[banks], end, rows[lane]) != end) continue;  // one read serves both
        *end = rows[lane];
        turns = std::max(turns, ++counts[banks]);
    }
    conflicts += turns - 1;
}

size_t bank_conflicts() {
    return conflicts;
}

bool copies_at_once() {
    return block.copies_at_once;
}

void copy_later(const Copy& copy) {
    Copies& own = block.copies[block.running->thread];
    if (own.copies.size() == Copies::kMost) {  // those made are done with
        own.copies.erase(own.copies.begin(), own.copies.begin() + static_cast<ptrdiff_t>(own.made));
        for (size_t& end : own.groups) end -= std::min(end, own.made);
        own.made = 0;
    }
    if (own.copies.size() == Copies::kMost) fail("more asynchronous copies than the emulation holds");
    own.copies.push_back(copy);
}

void commit_copies() {
    Copies& own = block.copies[block.running->thread];
    if (own.groups.size() == Copies::kMost) own.groups.erase(own.groups.begin(), own.groups.end() - 64);
    own.groups.push_back(own.copies.size());
}

bool next_copy(unsigned groups, Copy* copy) {
    Copies& own = block.copies[block.running->thread];
    if (own.groups.size() <= groups || own.made >= own.groups[own.groups.size() - 1 - groups]) return false;
    *copy = own.copies[own.made++];
    return true;
}

}  // namespace emulation
