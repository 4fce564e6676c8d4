/* Every allocation of the C library fails once, and once together with all that follow: each call returns OK
 * or GENFUSE_OUT_OF_MEMORY, succeeds when it is made again, gives the same picture, and nothing is lost. So
 * for samplers, and for a network that is loaded and run.
 *
 *     cc embed_faults.c -ldl -pthread -o embed_faults && ./embed_faults path/to/libgenfuse.so NETWORK.gfz
 *
 * The library is loaded by dlopen: memory of threads is then taken late, which is what can go wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <genfuse.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* old, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void* memory);

static atomic_long counted, held;
static long failing = -1; /* the allocation that fails, counted from 0; -1: none */
static int from_there_on;

static int fails(void) {
    const long number = atomic_fetch_add(&counted, 1);
    return failing >= 0 && (from_there_on ? number >= failing : number == failing);
}

static void* taken(void* memory) {
    if (memory) atomic_fetch_add(&held, 1);
    return memory;
}

void* malloc(size_t bytes) {
    return fails() ? NULL : taken(__libc_malloc(bytes));
}
void* calloc(size_t count, size_t bytes) {
    return fails() ? NULL : taken(__libc_calloc(count, bytes));
}
void* memalign(size_t alignment, size_t bytes) {
    return fails() ? NULL : taken(__libc_memalign(alignment, bytes));
}
void* aligned_alloc(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
    *memory = memalign(alignment, bytes);
    return *memory ? 0 : ENOMEM;
}
void* realloc(void* old, size_t bytes) {
    if (fails()) return NULL;
    void* const memory = __libc_realloc(old, bytes);
    return old ? memory : taken(memory);
}
void free(void* memory) {
    if (memory) atomic_fetch_sub(&held, 1);
    __libc_free(memory);
}

enum { BATCH = 2, NUMEL = 48 * 1024, SIZE = BATCH * NUMEL };

static struct {
    __typeof__(&genfuse_sampler_create) create;
    __typeof__(&genfuse_sampler_free) free;
    __typeof__(&genfuse_sampler_rows) rows;
    __typeof__(&genfuse_sampler_begin) begin;
    __typeof__(&genfuse_sampler_step_with) step;
    __typeof__(&genfuse_contiguous) contiguous;
    __typeof__(&genfuse_sampler_options_init) options_init;
    __typeof__(&genfuse_step_inputs_init) inputs_init;
    __typeof__(&genfuse_last_error) last_error;
    __typeof__(&genfuse_network_load) load;
    __typeof__(&genfuse_network_free) unload;
    __typeof__(&genfuse_network_inputs) ports;
    __typeof__(&genfuse_network_run) forward;
} api;

static void stop(const char* what) {
    failing = -1;
    fprintf(stderr, "embed_faults: %s; the last error: %s\n", what, api.last_error());
    exit(1);
}

/* A call, made again without a fault where it failed for memory. */
#define TRY(call)                                                 \
    do {                                                          \
        genfuse_status status = (call);                           \
        if (status != GENFUSE_OK) {                               \
            const long fault = failing;                           \
            if (status != GENFUSE_OUT_OF_MEMORY) stop(#call);     \
            if (fault < 0) stop("out of memory without a fault"); \
            failing = -1;                                         \
            if ((call) != GENFUSE_OK) stop("again: " #call);      \
            failing = from_there_on ? fault : -1;                 \
        }                                                         \
    } while (0)

static void sample(const char* name, float* x) {
    static float output[SIZE], uncond[SIZE];
    const genfuse_shape shape = {GENFUSE_FLOAT32, 2, {BATCH, NUMEL}};
    const int64_t seeds[BATCH] = {3, 4};
    genfuse_sampler_options options;
    genfuse_step_inputs inputs;
    genfuse_sampler* sampler = NULL;
    api.options_init(&options, sizeof options);
    options.guidance = 3;
    options.guidance_rescale = 0.5;
    options.clip_quantile = 0.99;
    options.threshold_max = 2;
    options.threads = 2;
    TRY(api.create(&sampler, name, 3, &shape, &options));
    TRY(api.begin(sampler, seeds, x));
    api.inputs_init(&inputs, sizeof inputs);
    api.contiguous(&shape, x, &inputs.x);
    api.contiguous(&shape, output, &inputs.model_output);
    api.contiguous(&shape, uncond, &inputs.uncond);
    for (int64_t i = 0; i < api.rows(sampler); ++i) {
        for (int k = 0; k < SIZE; ++k) output[k] = 0.5f * x[k], uncond[k] = 0.4f * x[k];
        TRY(api.step(sampler, i, &inputs));
    }
    api.free(sampler);
}

/* A network of one input and one output that fit. */
static void evaluate(const char* path, float* x) {
    static float input[SIZE];
    const void* inputs[] = {input};
    void* outputs[] = {x};
    genfuse_network* network = NULL;
    TRY(api.load(&network, path, 2));
    if (api.ports(network, 0, NULL)->bytes > sizeof input) stop("the network is too large");
    for (int k = 0; k < SIZE; ++k) input[k] = (float)(k % 7) - 3;
    TRY(api.forward(network, 0, inputs, outputs, 2));
    api.unload(network);
}

#define LOOK_UP(field, name)                    \
    *(void**)&api.field = dlsym(library, name); \
    if (!api.field) return fprintf(stderr, "%s is missing\n", name), 1

int main(int count, char** arguments) {
    static float expected[SIZE], found[SIZE];
    static const char* const names[] = {"unipc", "sa_solver", "dpmpp_2m_sde", "pndm"};
    long faults = 0;
    if (count < 3) return fprintf(stderr, "usage: embed_faults LIBRARY NETWORK\n"), 2;
    void* const library = dlopen(arguments[1], RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    LOOK_UP(create, "genfuse_sampler_create");
    LOOK_UP(free, "genfuse_sampler_free");
    LOOK_UP(rows, "genfuse_sampler_rows");
    LOOK_UP(begin, "genfuse_sampler_begin");
    LOOK_UP(step, "genfuse_sampler_step_with");
    LOOK_UP(contiguous, "genfuse_contiguous");
    LOOK_UP(options_init, "genfuse_sampler_options_init");
    LOOK_UP(inputs_init, "genfuse_step_inputs_init");
    LOOK_UP(last_error, "genfuse_last_error");
    LOOK_UP(load, "genfuse_network_load");
    LOOK_UP(unload, "genfuse_network_free");
    LOOK_UP(ports, "genfuse_network_inputs");
    LOOK_UP(forward, "genfuse_network_run");
    for (int which = 0; which < 5; ++which) {
        const char* const name = which < 4 ? names[which] : arguments[2];
        void (*const run)(const char*, float*) = which < 4 ? sample : evaluate;
        /* All at once comes first, and nothing precedes it: what is allocated once for a thread fails too. */
        for (from_there_on = 1; from_there_on >= 0; --from_there_on) {
            for (long fault = 0;; ++fault) {
                memset(found, 0, sizeof found);
                const long before = atomic_load(&held);
                atomic_store(&counted, 0);
                failing = fault;
                run(name, found);
                const int over = failing >= 0 && atomic_load(&counted) <= fault;
                failing = -1;
                if (fault == 0) {
                    memset(expected, 0, sizeof expected);
                    run(name, expected);
                } else if (atomic_load(&held) > before + 8) { /* a thread's own memory, its message */
                    return fprintf(stderr, "%s, fault %ld: %ld blocks lost\n", name, fault,
                                   atomic_load(&held) - before),
                           1;
                }
                if (memcmp(found, expected, sizeof found))
                    return fprintf(stderr, "%s: another picture\n", name), 1;
                if (over || fault > 100000) break;
                ++faults;
            }
        }
    }
    printf("%ld faults\n", faults);
    return 0;
}
