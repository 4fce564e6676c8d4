#include "genfuse/ema_update.h"

// Tensor by tensor, element by element. What is to be gained: one pass over all of them on all threads,
// vectors.

GENFUSE_KERNEL(args) {
    for (int64_t t = 0; t < args.averages_count; ++t) {
        const genfuse_tensor &average = args.averages[t], &parameter = args.parameters[t];
        for (int64_t i = 0; i < genfuse::numel(average); ++i) {
            const int64_t at = genfuse::place(average, i);
            const double a = genfuse::load(average, at),
                         p = genfuse::load(parameter, genfuse::place(parameter, i));
            const double made = args.decay > 0.5 ? a + (1 - args.decay) * (p - a) : p - args.decay * (p - a);
            genfuse::store(average, at, made);
        }
    }
    return nullptr;
}
