// norm_direction's C interface: checks a call and shares its samples among the threads.
#include "common/message.h"
#include "norm_direction/job.h"

genfuse_status genfuse_norm_direction(const genfuse_norm_direction_args* args, genfuse_message* message) {
    using namespace genfuse;
    if (args->dtype != GENFUSE_FLOAT32 && args->dtype != GENFUSE_BFLOAT16 && args->dtype != GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, bfloat16 or float16",
                       static_cast<int>(args->dtype));
    }
    if (args->batch < 0 || args->values < 0) {
        return invalid(message, "x has %lld samples of %lld values, expected 0 or more",
                       static_cast<long long>(args->batch), static_cast<long long>(args->values));
    }
    if (args->batch == 0) return GENFUSE_OK;
    if (!args->norms || (args->values > 0 && (!args->x || !args->direction))) {
        return invalid(message, "x, norms or direction is absent, expected all%s", "");
    }
    run_units(GENFUSE_KERNEL(norm_direction_units), *args, args->batch, args->batch * args->values,
              args->threads);
    return GENFUSE_OK;
}
