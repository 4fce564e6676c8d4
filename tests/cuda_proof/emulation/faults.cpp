// Kernels that are wrong on purpose, and one that is right: `faults NAME THREAD_ORDER` runs one on two blocks
// of 64 threads, and prints the sum of what it wrote.
#include <stdio.h>
#include <stdlib.h>

#include "cuda.h"
// after it
#include "common/cuda/shared.h"
#include "common/cuda/walk.h"

namespace {

constexpr unsigned kThreads = 64, kAll = 0xFFFFFFFFu;

struct Arguments {
    float* out;       // of kThreads elements for each block
    const float* in;  // likewise
};

float* own_out(const Arguments& a) {
    return a.out + blockIdx.x * kThreads;
}

// What a block's threads wrote to shared memory is read by others; a warp's lanes exchange and vote.
void correct(const Arguments& a) {
    GENFUSE_SHARED(float, shared, kThreads);
    shared[threadIdx.x] = a.in[blockIdx.x * kThreads + threadIdx.x];
    __syncthreads();
    float value = shared[kThreads - 1 - threadIdx.x];
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kAll, value, lanes);
    value += __shfl_down_sync(kAll, value, 1) + __shfl_sync(kAll, value, 0);
    if (threadIdx.x % 32 < 16) value += __all_sync(0xFFFFu, 1) + __any_sync(0xFFFFu, threadIdx.x == 40);
    if (__ballot_sync(kAll, threadIdx.x % 2) != 0xAAAAAAAAu) value = 0;
    __syncwarp();
    own_out(a)[threadIdx.x] = value;
}

void reads_past_global(const Arguments& a) {
    own_out(a)[threadIdx.x] = a.in[blockIdx.x * kThreads + threadIdx.x + 1];
}

void writes_before_global(const Arguments& a) {
    a.out[static_cast<int>(blockIdx.x * kThreads + threadIdx.x) - 1] = 1;
}

void writes_past_shared(const Arguments& a) {
    GENFUSE_SHARED(float, shared, kThreads);
    shared[threadIdx.x + 1] = 1;
    __syncthreads();
    own_out(a)[threadIdx.x] = shared[threadIdx.x];
}

void reads_past_local(const Arguments& a) {
    float local[4] = {1, 2, 3, 4};
    own_out(a)[threadIdx.x] = local[threadIdx.x % 5];
}

void misaligned(const Arguments& a) {
    const auto* chunk = reinterpret_cast<const genfuse::Chunk<float>*>(a.in + 1);
    own_out(a)[threadIdx.x] = chunk->element[0];
}

void shifts_too_far(const Arguments& a) {
    own_out(a)[threadIdx.x] = static_cast<float>(1 << threadIdx.x);
}

void reads_unwritten_shared(const Arguments& a) {
    GENFUSE_SHARED(float, shared, kThreads);
    if (threadIdx.x > 0) shared[threadIdx.x] = 1;
    __syncthreads();
    own_out(a)[threadIdx.x] = shared[threadIdx.x];
}

void different_barriers(const Arguments& a) {
    if (threadIdx.x < 32) {
        __syncthreads();
        own_out(a)[threadIdx.x] = 1;
    } else {
        own_out(a)[threadIdx.x] = 2;
        __syncthreads();
    }
}

void leaves_before_the_barrier(const Arguments& a) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    own_out(a)[threadIdx.x] = 1;
}

void caller_not_in_mask(const Arguments& a) {
    own_out(a)[threadIdx.x] = __shfl_xor_sync(0xFFFFu, 1.0f, 1);
}

void masks_disagree(const Arguments& a) {
    own_out(a)[threadIdx.x] = __shfl_xor_sync(threadIdx.x % 2 ? kAll : 0x55555555u, 1.0f, 2);
}

void lane_has_left(const Arguments& a) {
    if (threadIdx.x % 32 >= 24) return;
    own_out(a)[threadIdx.x] = __shfl_xor_sync(kAll, 1.0f, 1);
}

void no_barrier(const Arguments& a) {
    GENFUSE_SHARED(float, shared, kThreads);
    shared[threadIdx.x] = 1;
    own_out(a)[threadIdx.x] = shared[threadIdx.x / 2];
}

void no_barrier_before_reuse(const Arguments& a) {
    GENFUSE_SHARED(float, shared, kThreads);
    float sum = 0;
    for (int pass = 0; pass < 2; ++pass) {
        shared[threadIdx.x] = static_cast<float>(pass);
        __syncthreads();
        sum += shared[threadIdx.x / 2];
    }
    own_out(a)[threadIdx.x] = sum;
}

void blocks_write_the_same(const Arguments& a) {
    if (threadIdx.x == 0) a.out[0] = static_cast<float>(blockIdx.x);
}

using Fault = void (*)(const Arguments&);

const struct {
    const char* name;
    Fault run;
} kFaults[] = {{"correct", correct},
               {"reads_past_global", reads_past_global},
               {"writes_before_global", writes_before_global},
               {"writes_past_shared", writes_past_shared},
               {"reads_past_local", reads_past_local},
               {"misaligned", misaligned},
               {"shifts_too_far", shifts_too_far},
               {"reads_unwritten_shared", reads_unwritten_shared},
               {"different_barriers", different_barriers},
               {"leaves_before_the_barrier", leaves_before_the_barrier},
               {"caller_not_in_mask", caller_not_in_mask},
               {"masks_disagree", masks_disagree},
               {"lane_has_left", lane_has_left},
               {"no_barrier", no_barrier},
               {"no_barrier_before_reuse", no_barrier_before_reuse},
               {"blocks_write_the_same", blocks_write_the_same}};

Fault chosen;

void run(const void* arguments) {
    chosen(*static_cast<const Arguments*>(arguments));
}

}  // namespace

int main(int, char** arguments) {
    for (const auto& fault : kFaults) {
        if (!strcmp(fault.name, arguments[1])) chosen = fault.run;
    }
    if (!chosen) return 2;
    constexpr unsigned blocks = 2;
    float* const out = static_cast<float*>(calloc(blocks * kThreads, sizeof(float)));
    float* const in = static_cast<float*>(calloc(blocks * kThreads, sizeof(float)));
    for (unsigned i = 0; i < blocks * kThreads; ++i) in[i] = static_cast<float>(i % 7);
    const Arguments of_kernel{out, in};
    emulation::launch(blocks, kThreads, static_cast<emulation::ThreadOrder>(atoi(arguments[2])), run,
                      &of_kernel);
    double sum = 0;
    for (unsigned i = 0; i < blocks * kThreads; ++i) sum += static_cast<double>(out[i]);
    printf("%g\n", sum);
    free(out);
    free(in);
}
