// clip_weights' C interface: checks a call and shares its tiles among the threads.
#include <new>

#include "clip_weights/job.h"

namespace genfuse {
namespace {

genfuse_status run(const genfuse_clip_weights_args& args, genfuse_message* message) {
    if (!(args.bound >= 0)) return invalid(message, "bound is %g, expected 0 or more", args.bound);
    TensorList parameters;
    const genfuse_status status =
        parameters.read(args.parameters, args.count, nullptr, "parameters", message);
    if (status != GENFUSE_OK) return status;
    const Tiles tiles = parameters.tiles(args.threads);
    tiles.run(GENFUSE_KERNEL(clip_weights_units),
              ClipJob{parameters.tensors().data(), tiles.tiles.data(), args.bound});
    return GENFUSE_OK;
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_clip_weights(const genfuse_clip_weights_args* args, genfuse_message* message) {
    try {
        return genfuse::run(*args, message);
    } catch (const std::bad_alloc&) {
        return GENFUSE_OUT_OF_MEMORY;
    }
}
