/* The layout of a table's row. Plain C without an include: CUDA's runtime compiler has no standard headers.
 */
#ifndef GENFUSE_SAMPLER_STEP_COLUMNS_H
#define GENFUSE_SAMPLER_STEP_COLUMNS_H

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

#endif
