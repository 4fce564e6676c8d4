#include "common/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#include "common/scratch.h"

namespace genfuse {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);  // before a worker sleeps, and before a caller yields
constexpr int kMaxWorkers = 255;

void pause_core() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Calls `ready` until it is true or the time is over.
template <class Ready>
bool spin_until(Ready ready) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
        for (int i = 0; i < 64; ++i) {
            if (ready()) return true;
            pause_core();
        }
    } while (std::chrono::steady_clock::now() < end);
    return ready();
}

using Task = void (*)(void* context, int64_t chunk, int slot);

class Pool {
  public:
    void run(int64_t chunks, int threads, Task task, void* context) {
        grow(threads - 1);
        task_.store(task, std::memory_order_relaxed);
        context_.store(context, std::memory_order_relaxed);
        done_.store(0, std::memory_order_relaxed);
        invited_.store(threads - 1, std::memory_order_relaxed);
        const uint64_t epoch = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
        ticket_.store(epoch << 32 | static_cast<uint64_t>(chunks)
                                        << 16);  // seq_cst: before reading sleepers_
        if (sleepers_.load() > 0) wake();
        work(0);
        const auto all_done = [&] { return done_.load(std::memory_order_acquire) == chunks; };
        while (!spin_until(all_done)) sched_yield();
    }

    std::mutex submission;  // held by the caller whose job the workers are on

  private:
    // A ticket is epoch (32 bits), chunks of the job (16), next chunk to claim (16): claiming is one
    // compare-and-swap, which a worker that looked at an earlier job cannot win.
    std::atomic<uint64_t> ticket_{0};
    std::atomic<Task> task_{nullptr};
    std::atomic<void*> context_{nullptr};
    std::atomic<int64_t> done_{0};
    std::atomic<int> invited_{0};
    std::atomic<int> sleepers_{0};
    std::mutex sleep_;
    std::condition_variable awake_;
    int workers_ = 0;

    static bool open(uint64_t ticket) { return (ticket & 0xFFFF) < (ticket >> 16 & 0xFFFF); }

    // The caller has slot 0, worker w slot w + 1. A worker that this job did not invite claims nothing, so
    // that slots stay below the job's number of threads.
    void work(int slot) {
        uint64_t ticket = ticket_.load(std::memory_order_acquire);
        while (open(ticket) && slot <= invited_.load(std::memory_order_relaxed)) {
            if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
            const auto task = task_.load(std::memory_order_relaxed);
            task(context_.load(std::memory_order_relaxed), static_cast<int64_t>(ticket & 0xFFFF), slot);
            done_.fetch_add(1, std::memory_order_release);
            ticket = ticket_.load(std::memory_order_acquire);
        }
    }

    void wake() {
        {
            std::lock_guard<std::mutex> lock(sleep_);
        }
        awake_.notify_all();
    }

    // Until the process ends; a thread without memory to work in leaves its part to the others.
    void serve(int number) {
        if (!has_scratch()) return;
        const auto wanted = [&] {
            return open(ticket_.load()) && number < invited_.load(std::memory_order_relaxed);
        };
        for (;;) {
            if (!spin_until(wanted)) {
                std::unique_lock<std::mutex> lock(sleep_);
                sleepers_.fetch_add(1);
                awake_.wait(lock, wanted);
                sleepers_.fetch_sub(1);
            }
            work(number + 1);
        }
    }

    void grow(int workers) {
        while (workers_ < workers && workers_ < kMaxWorkers) {
            try {
                std::thread([this, number = workers_] { serve(number); }).detach();
            } catch (const std::exception&) {  // no more threads, or no memory for one
                return;                        // the caller does what the missing worker would have done
            }
            ++workers_;
        }
    }
};

Team team{};

// One call on the host's team.
class TeamCall {
  public:
    TeamCall(int64_t chunks, Task task, void* context) : chunks_(chunks), task_(task), context_(context) {}

    void run(int threads) {
        team.run([](void* call) { static_cast<TeamCall*>(call)->work(); }, this,
                 static_cast<unsigned>(threads), 0);
    }

  private:
    const int64_t chunks_;
    const Task task_;
    void* const context_;
    std::atomic<int64_t> next_{0};

    void work() {
        const int slot = team.number();
        for (int64_t chunk; (chunk = next_.fetch_add(1, std::memory_order_relaxed)) < chunks_;) {
            task_(context_, chunk, slot);
        }
    }
};

// Never destroyed, as workers may outlive every static object, and not allocated, so that it cannot fail.
alignas(Pool) unsigned char pool_memory[sizeof(Pool)];
Pool* pool = nullptr;

// A fork waits for the job in flight; the child has no workers and starts with a fresh pool.
void before_fork() {
    pool->submission.lock();
}
void after_fork_in_parent() {
    pool->submission.unlock();
}
void after_fork_in_child() {
    pool = new (pool_memory) Pool;
    team = {};
}

Pool& the_pool() {
    static const bool registered = [] {
        pool = new (pool_memory) Pool;
        return pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    }();
    (void)registered;
    return *pool;
}

}  // namespace

void join_team(const Team& given) {
    std::lock_guard<std::mutex> lock(the_pool().submission);
    team = given;
}

bool in_team() {
    return team.run != nullptr;
}

void parallel_for(int64_t chunks, int threads, Task task, void* context) {
    if (threads > 1 && chunks > 1) {
        Pool& shared = the_pool();
        std::unique_lock<std::mutex> lock(shared.submission, std::try_to_lock);
        if (lock.owns_lock()) {
            if (team.run) {
                TeamCall(chunks, task, context).run(threads);
            } else {
                shared.run(chunks, threads, task, context);
            }
            return;
        }
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) task(context, chunk, 0);
}

}  // namespace genfuse
