/* genfuse: diffusion samplers around a network of your own, in C.
 *
 * Plain C, C++ too; libgenfuse needs nothing but the C library, its mathematics and threads. No function
 * aborts, prints or lets an exception out: functions that can fail return a genfuse_status, and
 * genfuse_last_error() then says in a sentence what was wrong, what was expected and what to do. A call that
 * fails has changed nothing that it was given, unless its description says otherwise.
 *
 * All functions may be called from several threads at once; an object (a handle) is used by one thread at a
 * time. The only state that the library shares between calls is its pool of threads.
 */
#ifndef GENFUSE_H
#define GENFUSE_H

#include "genfuse_tensor.h"

#if defined(__GNUC__)
#define GENFUSE_API __attribute__((visibility("default")))
#else
#define GENFUSE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The library ------------------------------------------------------------------------------------------
 */

/* "0.1.0". Within a major version functions and fields are added, never changed or taken away. */
GENFUSE_API const char* genfuse_version(void);

/* The instruction set that the kernels use on this processor: "baseline", "avx2", "avx512", ... */
GENFUSE_API const char* genfuse_instruction_set(void);

/* "ok", "invalid argument", ... */
GENFUSE_API const char* genfuse_status_name(genfuse_status status);

/* The message of the calling thread's last call that failed, "" where none has. It is the thread's own, and
 * stays as it is until another of its calls fails. */
GENFUSE_API const char* genfuse_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
