// libgenfuse.so's own place for the C++ runtime's record of caught exceptions, one a thread.
//
// The static runtime keeps it in memory that a library loaded by dlopen gets when a thread first throws, and
// where there is none left (which is when std::bad_alloc is thrown) the C library ends the process. In the
// initial-exec model these 16 bytes exist in every thread from its start.
#include <cxxabi.h>

namespace {

struct Globals {
    void* caught;
    unsigned uncaught;
};

__attribute__((tls_model("initial-exec"))) thread_local Globals globals{};

}  // namespace

namespace __cxxabiv1 {

extern "C" __cxa_eh_globals* __cxa_get_globals() noexcept {
    return reinterpret_cast<__cxa_eh_globals*>(&globals);
}

extern "C" __cxa_eh_globals* __cxa_get_globals_fast() noexcept {
    return reinterpret_cast<__cxa_eh_globals*>(&globals);
}

}  // namespace __cxxabiv1
