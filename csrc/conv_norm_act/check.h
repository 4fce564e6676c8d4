// What a call of conv_norm_act must satisfy.
#pragma once

#include "conv_norm_act/params.h"

namespace genfuse {

genfuse_status check_weight(const genfuse_weight& weight, genfuse_message* message);

genfuse_status check_image(const char* name, const genfuse_image& image, int64_t channels,
                           genfuse_message* message);
genfuse_status check_prologue(const genfuse_prologue& prologue, int64_t channels, genfuse_message* message);
genfuse_status check_conv(const genfuse_conv& conv, genfuse_message* message);
genfuse_status check_args(const genfuse_conv_norm_act_args& args, genfuse_message* message);

}  // namespace genfuse
