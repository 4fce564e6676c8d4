#include "genfuse/ema_update.h"
// genfuse: dtypes=float32

// Step 3: each thread has the same part of every tensor at every call, so that what a core has in its cache
// it finds there again, as far as the system starts the thread there. What genfuse's own adds: threads that
// are there already, parts of a thread that comes late to one that is done, half precision, other orders of
// axes.

namespace {

bool dense(const genfuse_tensor& average, const genfuse_tensor& parameter) {
    return average.dtype == GENFUSE_FLOAT32 && parameter.dtype == GENFUSE_FLOAT32 &&
           genfuse::contiguous(average) && genfuse::contiguous(parameter);
}

void update(const genfuse_tensor& average, const genfuse_tensor& parameter, double decay, int64_t begin,
            int64_t end) {
    if (dense(average, parameter)) {
        float* a = static_cast<float*>(average.data);
        const float* p = static_cast<const float*>(parameter.data);
        const float kept = static_cast<float>(decay), taken = static_cast<float>(1 - decay);
        if (decay > 0.5)
            for (int64_t i = begin; i < end; ++i) a[i] += taken * (p[i] - a[i]);
        else
            for (int64_t i = begin; i < end; ++i) a[i] = p[i] - kept * (p[i] - a[i]);
        return;
    }
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = genfuse::place(average, i);
        const double a = genfuse::load(average, at),
                     p = genfuse::load(parameter, genfuse::place(parameter, i));
        genfuse::store(average, at, decay > 0.5 ? a + (1 - decay) * (p - a) : p - decay * (p - a));
    }
}

}  // namespace

GENFUSE_KERNEL(args) {
    genfuse::parallel(args.threads, args.threads, [&](int64_t begin, int64_t end) {
        for (int64_t t = 0; t < args.averages_count; ++t) {
            const int64_t count = genfuse::numel(args.averages[t]);
            update(args.averages[t], args.parameters[t], args.decay, count * begin / args.threads,
                   count * end / args.threads);
        }
    });
    return nullptr;
}
