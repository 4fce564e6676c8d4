// Shared memory of a block: on the host, memory of its own for each array, poisoned with NaN and guarded by
// AddressSanitizer, which a `static` in the place of `__shared__` would not be.
#pragma once

#ifdef __CUDACC__
#define GENFUSE_SHARED(Type, name, count) __shared__ Type name[count]
#else
#define GENFUSE_SHARED(Type, name, count) \
    static char name##_declaration;       \
    Type* const name = emulation::shared_memory<Type>(&name##_declaration, count)
#endif
