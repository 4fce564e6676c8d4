// What the library is: its version, the names of its codes, the instruction set that its kernels use.
#include "common/cpuid.h"
#include "include/genfuse.h"

const char* genfuse_version(void) {
    return GENFUSE_VERSION;
}

const char* genfuse_instruction_set(void) {
    return genfuse::isa_name(genfuse::current_isa());
}

const char* genfuse_status_name(genfuse_status status) {
    switch (status) {
        case GENFUSE_OK:
            return "ok";
        case GENFUSE_INVALID_ARGUMENT:
            return "invalid argument";
        case GENFUSE_OUT_OF_MEMORY:
            return "out of memory";
        case GENFUSE_UNSUPPORTED:
            return "unsupported";
        case GENFUSE_IO_ERROR:
            return "input/output error";
        case GENFUSE_BAD_FILE:
            return "bad file";
        case GENFUSE_INTERNAL:
            return "internal error";
    }
    return "unknown status";
}
