// clip_grad_norm's C interface: the norm, and a second pass over the gradients where it is too large.
#include <math.h>

#include <new>
#include <vector>

#include "clip_grad_norm/job.h"

namespace genfuse {
namespace {

bool has_float64(const std::vector<Listed>& gradients) {
    for (const Listed& gradient : gradients) {
        if (gradient.dtype == GENFUSE_FLOAT64) return true;
    }
    return false;
}

// Tiles' sums are added by the tiles' numbers, whoever made them.
double norm_of(const std::vector<Listed>& gradients, const Tiles& tiles) {
    std::vector<double> sums(tiles.tiles.size());
    tiles.run(GENFUSE_KERNEL(sum_squares_units),
              SquaresJob{gradients.data(), tiles.tiles.data(), sums.data()});
    double total = 0;
    for (const double sum : sums) total += sum;
    const double norm = sqrt(total);
    return has_float64(gradients) ? norm : static_cast<double>(static_cast<float>(norm));
}

genfuse_status run(const genfuse_clip_grad_norm_args& args, genfuse_message* message) {
    if (!(args.max_norm >= 0)) {
        return invalid(message, "max_norm is %g, expected 0 or more", args.max_norm);
    }
    TensorList gradients;
    const genfuse_status status = gradients.read(args.gradients, args.count, nullptr, "gradients", message);
    if (status != GENFUSE_OK) return status;
    const Tiles tiles = gradients.tiles(args.threads);
    *args.norm = norm_of(gradients.tensors(), tiles);
    const double coefficient = args.max_norm / (*args.norm + 1e-6);  // NaN where the norm is
    if (coefficient >= 1 || (args.finite && !isfinite(*args.norm))) return GENFUSE_OK;
    tiles.run(GENFUSE_KERNEL(scale_units),
              ScaleJob{gradients.tensors().data(), tiles.tiles.data(), coefficient});
    return GENFUSE_OK;
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_clip_grad_norm(const genfuse_clip_grad_norm_args* args, genfuse_message* message) {
    try {
        return genfuse::run(*args, message);
    } catch (const std::bad_alloc&) {
        return GENFUSE_OUT_OF_MEMORY;
    }
}
