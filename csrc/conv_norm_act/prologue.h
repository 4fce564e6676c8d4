// A unit's norm before its kernels run: the scale and offset of each channel or pixel that they apply.
#pragma once

#include "conv_norm_act/job.h"

namespace genfuse {

class Prologue {
  public:
    // Lays out what `prepare` fills.
    void carve(Carver& carver, const genfuse_conv_norm_act_args& args, int64_t channels);

    // Floats of a slot's memory that statistics take.
    static int64_t slot_floats(const genfuse_conv_norm_act_args& args) { return kBlock * args.width; }

    // Measures what nobody gave and sets the job's scales and offsets; on the slots' memory.
    void prepare(ConvJob& job) const;

  private:
    float *stats_ = nullptr, *scale_ = nullptr, *offset_ = nullptr;
    float *pixel_scale_ = nullptr, *pixel_offset_ = nullptr;
};

}  // namespace genfuse
