#include <algorithm>
#include <atomic>

#include "genfuse/ema_update.h"
// genfuse: dtypes=float32

// Step 2: dense tensors are runs of memory in float32, cut into tiles of 16384 elements that threads take one
// after the other. What is left: a tile that one core has in its cache from the last call goes to the other.

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
    constexpr int64_t kTile = 16384;
    std::vector<int64_t> behind;  // tiles of all tensors up to this one
    int64_t tiles = 0;
    for (int64_t t = 0; t < args.averages_count; ++t)
        behind.push_back(tiles += (genfuse::numel(args.averages[t]) + kTile - 1) / kTile);
    std::atomic<int64_t> next{0};
    genfuse::parallel(args.threads, std::min(tiles, args.threads), [&](int64_t, int64_t) {
        for (int64_t tile = next++; tile < tiles; tile = next++) {
            const int64_t t = std::upper_bound(behind.begin(), behind.end(), tile) - behind.begin();
            const int64_t first = (tile - (t ? behind[static_cast<size_t>(t - 1)] : 0)) * kTile;
            update(args.averages[t], args.parameters[t], args.decay, first,
                   std::min(first + kTile, genfuse::numel(args.averages[t])));
        }
    });
    return nullptr;
}
