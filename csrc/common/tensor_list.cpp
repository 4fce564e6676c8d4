#include "common/tensor_list.h"

#include <algorithm>
#include <atomic>

#include "common/dispatch.h"

namespace genfuse {
namespace {

constexpr int kMostShares = 256;

Layout ordered_layout(const genfuse_listed& given, const genfuse_listed& leader) {
    const int axes = given.shape.axes;
    int order[GENFUSE_MAX_AXES];
    const int64_t* const stride = leader.tensor.stride;
    for (int axis = 0; axis < axes; ++axis) {  // insertion: they are in order already, as a rule
        int place = axis;
        for (; place > 0 && stride[order[place - 1]] < stride[axis]; --place) order[place] = order[place - 1];
        order[place] = axis;
    }
    genfuse_shape shape{};
    genfuse_tensor tensor{};
    shape.axes = axes + 1;  // behind the batch, which a layout leaves out
    shape.size[0] = 1;
    for (int place = 0; place < axes; ++place) {
        shape.size[place + 1] = given.shape.size[order[place]];
        tensor.stride[place + 1] = given.tensor.stride[order[place]];
    }
    return sample_layout(shape, tensor.stride);
}

genfuse_status check(const genfuse_listed& given, const genfuse_listed& leader, const char* name, int64_t i,
                     genfuse_message* message) {
    const genfuse_status status = check_shape(given.shape, message);
    if (status != GENFUSE_OK) return status;
    if (given.shape.axes >= GENFUSE_MAX_AXES) {
        return invalid(message, "%s[%lld] has %d axes, expected at most %d", name, static_cast<long long>(i),
                       given.shape.axes, GENFUSE_MAX_AXES - 1);
    }
    const int64_t* const size = given.shape.size;
    if (given.shape.axes != leader.shape.axes ||
        !std::equal(size, size + given.shape.axes, leader.shape.size)) {
        return invalid(message, "%s[%lld] has another shape than the tensor it goes with, expected the same",
                       name, static_cast<long long>(i));
    }
    return GENFUSE_OK;
}

}  // namespace

genfuse_status TensorList::read(const genfuse_listed* given, int64_t count, const genfuse_listed* leaders,
                                const char* name, genfuse_message* message) {
    listed_.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
        const genfuse_listed& leader = leaders ? leaders[i] : given[i];
        const genfuse_status status = check(given[i], leader, name, i, message);
        if (status != GENFUSE_OK) return status;
        Listed& listed = listed_[static_cast<size_t>(i)];
        listed.data = given[i].tensor.data;
        listed.dtype = given[i].shape.dtype;
        listed.numel = 1;
        for (int axis = 0; axis < given[i].shape.axes; ++axis) listed.numel *= given[i].shape.size[axis];
        listed.layout = ordered_layout(given[i], leader);
        if (listed.numel > 0 && !listed.data) {
            return invalid(message, "%s[%lld] is absent, expected a tensor", name, static_cast<long long>(i));
        }
    }
    return GENFUSE_OK;
}

Tiles TensorList::tiles(int threads) const {
    int64_t elements = 0;
    for (const Listed& tensor : listed_) elements += tensor.numel;
    const int64_t shares = threads > 1 && elements >= kParallelWork ? std::min(threads, kMostShares) : 1;
    Tiles all;
    for (int64_t share = 0; share < shares; ++share) {
        all.first.push_back(static_cast<int64_t>(all.tiles.size()));
        int64_t number = 0;
        for (size_t i = 0; i < listed_.size(); ++i) {
            const int64_t numel = listed_[i].numel, count = (numel + kListTile - 1) / kListTile;
            for (int64_t tile = count * share / shares; tile < count * (share + 1) / shares; ++tile) {
                const int64_t element = tile * kListTile;
                all.tiles.push_back(
                    {static_cast<int64_t>(i), element, std::min(kListTile, numel - element), number + tile});
            }
            number += count;
        }
    }
    all.first.push_back(static_cast<int64_t>(all.tiles.size()));
    return all;
}

void Tiles::run_shares(void (*run)(const void*, const void*, int64_t, int64_t), const void* kernel,
                       const void* job) const {
    const int shares = static_cast<int>(first.size()) - 1;
    if (shares == 1) {
        run(kernel, job, 0, first[1]);
        return;
    }
    struct Call {
        const Tiles* tiles;
        void (*run)(const void*, const void*, int64_t, int64_t);
        const void *kernel, *job;
        int shares;
        std::atomic_flag taken[kMostShares];
    } call{this, run, kernel, job, shares, {}};
    for (std::atomic_flag& taken : call.taken) taken.clear();
    // Each chunk finds a share that nobody has: the thread's own, else that of a thread which came late.
    parallel_for(
        shares, shares,
        [](void* context, int64_t, int slot) {
            Call& c = *static_cast<Call*>(context);
            int share = slot;
            while (c.taken[share].test_and_set(std::memory_order_relaxed)) share = (share + 1) % c.shares;
            const int64_t* const range = c.tiles->first.data() + share;
            c.run(c.kernel, c.job, range[0], range[1]);
        },
        &call);
}

}  // namespace genfuse
