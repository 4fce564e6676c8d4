// ema_update's C interface: checks a call and shares its tiles among the threads.
#include <new>

#include "ema_update/job.h"

namespace genfuse {
namespace {

genfuse_status run(const genfuse_ema_update_args& args, genfuse_message* message) {
    if (!(args.decay >= 0 && args.decay <= 1)) {
        return invalid(message, "decay is %g, expected a number in [0, 1]", args.decay);
    }
    TensorList averages, parameters;
    genfuse_status status = averages.read(args.averages, args.count, nullptr, "averages", message);
    if (status != GENFUSE_OK) return status;
    status = parameters.read(args.parameters, args.count, args.averages, "parameters", message);
    if (status != GENFUSE_OK) return status;
    for (size_t i = 0; i < averages.tensors().size(); ++i) {
        const bool wide = averages.tensors()[i].dtype == GENFUSE_FLOAT64;
        if (wide != (parameters.tensors()[i].dtype == GENFUSE_FLOAT64)) {
            return invalid(message,
                           "one of averages[%lld] and parameters[%lld] is float64, expected both or neither",
                           static_cast<long long>(i), static_cast<long long>(i));
        }
    }
    const Tiles tiles = averages.tiles(args.threads);
    tiles.run(GENFUSE_KERNEL(ema_update_units),
              EmaJob{averages.tensors().data(), parameters.tensors().data(), tiles.tiles.data(), args.decay});
    return GENFUSE_OK;
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_ema_update(const genfuse_ema_update_args* args, genfuse_message* message) {
    try {
        return genfuse::run(*args, message);
    } catch (const std::bad_alloc&) {
        return GENFUSE_OUT_OF_MEMORY;
    }
}
