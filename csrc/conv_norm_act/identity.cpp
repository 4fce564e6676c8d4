// A unit without a convolution: normalised and activated where no convolution follows. One read and one
// write.
//
// A row is a row of the image; a unit is some rows of one sample's channel block.
#include "conv_norm_act/identity.h"

#include "conv_norm_act/finish.h"
#include "conv_norm_act/stage.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

template <class Stored>
void run_unit(const ConvJob& job, int64_t unit, int slot) {
    const identity::Frame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t width = job.args->width, blocks = blocks_of(job.in_channels);
    const int64_t n = unit / frame.stretches / blocks, c = unit / frame.stretches % blocks * kBlock;
    const int lanes = static_cast<int>(job.in_channels - c < kBlock ? job.in_channels - c : kBlock);
    const int64_t first = unit % frame.stretches * job.rows_a_unit, end = first + job.rows_a_unit;
    const Reader<Stored> reader(job, n, c, lanes);
    Finish<Stored> finish(job, n, c, lanes, frame.residual);
    for (int64_t y = first; y < end && y < job.rows; ++y) {
        float* const pixels = frame.pixels + y % 2 * width * kBlock;
        reader.row(y, pixels);
        RowMoments moments;
        finish.row(y, width, pixels, job.partial ? &moments : nullptr);
        if (!moments.empty()) finish.keep(moments, y / job.args->epilogue.pool[0]);
    }
}

}  // namespace

void identity_unit(const ConvJob& job, int64_t unit, int slot) {
    with_stored(job.args->dtype, [&](auto stored) { run_unit<decltype(stored)>(job, unit, slot); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
