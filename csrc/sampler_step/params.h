/* The C interface of sampler_step, and the layout of a table's row. Plain C;
 * kernels/genfuse_kernels/sampler_step/ spec.py says what is computed. */
#ifndef GENFUSE_SAMPLER_STEP_PARAMS_H
#define GENFUSE_SAMPLER_STEP_PARAMS_H

#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GENFUSE_HISTORY_SLOTS 4
#define GENFUSE_ROW 32 /* columns of a row, the unused ones zero */

/* The columns in order, as in sampler_step/row.py (a test keeps the two equal). */
#define GENFUSE_TERMS(TERM, output) \
    TERM(output, x)                 \
    TERM(output, m)                 \
    TERM(output, x0)                \
    TERM(output, h0)                \
    TERM(output, h1)                \
    TERM(output, h2)                \
    TERM(output, h3)                \
    TERM(output, noise)             \
    TERM(output, noise_prev)

#define GENFUSE_COLUMNS(COLUMN, TERM) \
    COLUMN(x0_x)                      \
    COLUMN(x0_m)                      \
    COLUMN(clip_min)                  \
    COLUMN(clip_max)                  \
    COLUMN(guidance)                  \
    COLUMN(rescale)                   \
    COLUMN(quantile)                  \
    COLUMN(threshold_max)             \
    COLUMN(log_std)                   \
    COLUMN(log_std_v)                 \
    GENFUSE_TERMS(TERM, y)            \
    GENFUSE_TERMS(TERM, s)            \
    COLUMN(store)

#define GENFUSE_COLUMN_ENUM(name) GENFUSE_COLUMN_##name,
#define GENFUSE_TERM_ENUM(output, term) GENFUSE_COLUMN_##output##_##term,
enum { GENFUSE_COLUMNS(GENFUSE_COLUMN_ENUM, GENFUSE_TERM_ENUM) GENFUSE_COLUMN_COUNT };
#undef GENFUSE_COLUMN_ENUM
#undef GENFUSE_TERM_ENUM

typedef struct {
    genfuse_shape shape;
    genfuse_tensor out, stored; /* stored may be absent */
    genfuse_tensor x, model_output, uncond, variance, noise, noise_prev;
    genfuse_tensor history[GENFUSE_HISTORY_SLOTS];
    int32_t history_slots; /* 0: no history */
    const double* table;   /* (rows, GENFUSE_ROW) */
    int64_t rows;
    int64_t row;          /* the row of every sample, where index is NULL */
    const int64_t* index; /* (N,): a row a sample */
    const int64_t* seeds; /* (N,), may be absent */
    uint32_t stream;
    const void* scales; /* (N, 2) float, double where the shape's dtype is float64; may be absent */
    int32_t threads;
} genfuse_sampler_step_args;

/* One step. Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_sampler_step(const genfuse_sampler_step_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
