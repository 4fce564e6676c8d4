// Shared memory of a block: on the host, memory of its own for each array, poisoned with NaN and guarded by
// AddressSanitizer, which a `static` in the place of `__shared__` would not be.
// GENFUSE_DYNAMIC_SHARED is what the launch gives beside, of a kernel that declares it once; at a multiple of
// 128.
#pragma once

#ifdef __CUDACC__
#define GENFUSE_SHARED(Type, name, count) __shared__ Type name[count]
#define GENFUSE_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#else
#define GENFUSE_SHARED(Type, name, count) \
    static char name##_declaration;       \
    Type* const name = emulation::shared_memory<Type>(&name##_declaration, count)
#define GENFUSE_DYNAMIC_SHARED(name) \
    unsigned char* const name = static_cast<unsigned char*>(emulation::dynamic_shared_memory())
#endif
