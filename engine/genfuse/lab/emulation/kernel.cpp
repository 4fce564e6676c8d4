// One instantiation of one kernel on the host, its `__global__` function itself: compiled for the macros that
// NVRTC is given, and GENFUSE_SOURCE, GENFUSE_FUNCTION and GENFUSE_BLOCK, the threads of its launch bounds.
// `emulated/conftest.py` calls it.
#include "cuda.h"
// after it
#include GENFUSE_SOURCE

namespace {

template <auto kernel>
struct Of;
template <class Arguments, void (*kernel)(Arguments)>
struct Of<kernel> {
    static constexpr size_t bytes = sizeof(Arguments);
    static void run(const void* arguments) { kernel(*static_cast<const Arguments*>(arguments)); }
};

}  // namespace

extern "C" size_t argument_bytes() {
    return Of<GENFUSE_FUNCTION>::bytes;
}
extern "C" unsigned block_threads() {
    return GENFUSE_BLOCK;
}
extern "C" size_t bank_conflicts() {
    return emulation::bank_conflicts();
}
extern "C" void emulate(unsigned blocks, int thread_order, const void* arguments, size_t shared) {
    emulation::launch(blocks, block_threads(), static_cast<emulation::ThreadOrder>(thread_order),
                      Of<GENFUSE_FUNCTION>::run, arguments, shared);
}
