// A checked call of upfirdn2d, as its kernel reads it.
//
// Outputs that meet the same factors of the filter are a run: their inputs advance alike. Along a planar row
// these are every P-th pixel, P = up / gcd(up, down), whose inputs lie D = down / gcd(up, down) apart: a row
// is kept as D rows of every D-th pixel, and each run reads neighbours. Where channels are adjacent, a run is
// the channels of one pixel. So one loop serves both, and no inserted zero is multiplied.
#pragma once

#include <vector>

#include "common/dispatch.h"
#include "upfirdn2d/params.h"

namespace genfuse {

struct UpfirdnTap {
    int64_t offset;  // of a run's first input in the row as it is kept
    int64_t column;  // of the filter
};

struct UpfirdnRun {
    int64_t first, last;  // its taps
};

// Elements that a row in working memory is rounded up to: of the longest vector.
constexpr int64_t kUpfirdnSlack = 16;

struct UpfirdnJob {
    genfuse_upfirdn2d_args args;
    std::vector<UpfirdnTap> taps;
    std::vector<UpfirdnRun> runs;
    std::vector<float> filter;  // beside args.filter, for sums in float32
    int64_t run_length;         // outputs of the longest run; planar ones may have one fewer
    int64_t run_pitch;          // from one run to the next in working memory
    int64_t phases;             // D of planar rows, 1 of others
    int64_t phase_pitch, margin;
    int64_t row_length;      // of an input row in working memory
    int64_t out_row_length;  // likewise
    int64_t block_rows;      // outputs of a unit
    int64_t input_rows;      // that a unit reads at most
    int64_t row_blocks;
    int64_t channel_block, channel_blocks;
    char* memory;
    int64_t memory_a_slot;
};

#define GENFUSE_DECLARE_UPFIRDN(isa)                                    \
    namespace isa {                                                     \
    void upfirdn2d_unit(const UpfirdnJob& job, int64_t unit, int slot); \
    }
GENFUSE_DECLARE_UPFIRDN(baseline)
GENFUSE_DECLARE_UPFIRDN(avx2)
GENFUSE_DECLARE_UPFIRDN(avx512)
#undef GENFUSE_DECLARE_UPFIRDN

}  // namespace genfuse
