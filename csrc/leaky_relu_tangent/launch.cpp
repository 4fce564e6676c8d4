// leaky_relu_tangent's C interface: checks a call and shares its pieces among the threads.
#include "common/message.h"
#include "leaky_relu_tangent/job.h"

genfuse_status genfuse_leaky_relu_tangent(const genfuse_leaky_relu_tangent_args* args,
                                          genfuse_message* message) {
    using namespace genfuse;
    if (args->dtype != GENFUSE_FLOAT32 && args->dtype != GENFUSE_BFLOAT16 && args->dtype != GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, bfloat16 or float16",
                       static_cast<int>(args->dtype));
    }
    if (args->count < 0) {
        return invalid(message, "count is %lld, expected 0 or more", static_cast<long long>(args->count));
    }
    if (args->count == 0) return GENFUSE_OK;
    if (!args->tangent || !args->mask || !args->out) {
        return invalid(message, "tangent, mask or out is absent, expected all%s", "");
    }
    const int64_t units = (args->count + kLeakyReluTangentPiece - 1) / kLeakyReluTangentPiece;
    run_units(GENFUSE_KERNEL(leaky_relu_tangent_units), *args, units, args->count, args->threads);
    return GENFUSE_OK;
}
