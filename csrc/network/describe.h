// The fields of every call that a plan may hold. A call that does not fit itself is refused (Refused).
#pragma once

#include "attention/params.h"
#include "bias_act/params.h"
#include "conv_norm_act/params.h"
#include "glue/params.h"
#include "network/fields.h"
#include "norm_stats/params.h"
#include "timestep_embedding/params.h"
#include "upfirdn2d/params.h"

namespace genfuse {

// A unit with what its kernel was chosen by: another processor may choose another.
struct ConvCall {
    genfuse_conv_norm_act_args args;
    int32_t accuracy;  // genfuse_accuracy
};

genfuse_status run_conv(const ConvCall* call, genfuse_message* message);

// The kernel by rule on this processor; before it, `algorithm` says only whether there is a convolution.
void choose_kernel(ConvCall& call);

void describe(Fields& fields, ConvCall& call);
void describe(Fields& fields, genfuse_attention_args& args);
void describe(Fields& fields, genfuse_bias_act_args& args);
void describe(Fields& fields, genfuse_copy_args& args);
void describe(Fields& fields, genfuse_elementwise_args& args);
void describe(Fields& fields, genfuse_gather_args& args);
void describe(Fields& fields, genfuse_norm_stats_args& args);
void describe(Fields& fields, genfuse_timestep_embedding_args& args);
void describe(Fields& fields, genfuse_upfirdn2d_args& args);
void describe(Fields& fields, genfuse_widen_args& args);
void describe(Fields& fields, genfuse_window_args& args);

// A call's name in a plan.
inline const char* name_of(const ConvCall&) {
    return "conv_norm_act";
}
inline const char* name_of(const genfuse_attention_args&) {
    return "attention";
}
inline const char* name_of(const genfuse_bias_act_args&) {
    return "bias_act";
}
inline const char* name_of(const genfuse_copy_args&) {
    return "copy";
}
inline const char* name_of(const genfuse_elementwise_args&) {
    return "elementwise";
}
inline const char* name_of(const genfuse_gather_args&) {
    return "gather";
}
inline const char* name_of(const genfuse_norm_stats_args&) {
    return "norm_stats";
}
inline const char* name_of(const genfuse_timestep_embedding_args&) {
    return "timestep_embedding";
}
inline const char* name_of(const genfuse_upfirdn2d_args&) {
    return "upfirdn2d";
}
inline const char* name_of(const genfuse_widen_args&) {
    return "widen";
}
inline const char* name_of(const genfuse_window_args&) {
    return "window";
}

}  // namespace genfuse
