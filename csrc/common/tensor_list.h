// Lists of tensors that one call works through element by element, cut into tiles that threads share.
#pragma once

#include <vector>

#include "common/layout.h"
#include "common/listed.h"
#include "common/message.h"

namespace genfuse {

// Elements of a tile: a tensor's last one has fewer.
constexpr int64_t kListTile = 16384;

// A tensor as kernels walk over it. Axes go by falling stride, so that what is dense is so in any memory
// format.
struct Listed {
    void* data;
    int32_t dtype;
    int64_t numel;
    Layout layout;
};

struct Tile {
    int64_t tensor;
    int64_t element;  // the first, in the order of the tensor's layout
    int64_t count;
    int64_t number;  // in the order of tensors and elements, whoever works on it
};

// All tiles, those of a thread's share together: of each tensor it has the part that PyTorch's own kernels
// give it, so that from one pass to the next what a core has in its caches is asked for by that core.
struct Tiles {
    std::vector<Tile> tiles;
    std::vector<int64_t> first;  // of each share, and the number of all

    // Runs kernel(job, begin, end) over all: each thread through its own share, then through what others have
    // left.
    template <class Job>
    void run(void (*kernel)(const Job&, int64_t, int64_t), const Job& job) const {
        run_shares(
            [](const void* context, const void* of, int64_t begin, int64_t end) {
                (*static_cast<decltype(kernel) const*>(context))(*static_cast<const Job*>(of), begin, end);
            },
            &kernel, &job);
    }

  private:
    void run_shares(void (*run)(const void*, const void*, int64_t, int64_t), const void* kernel,
                    const void* job) const;
};

class TensorList {
  public:
    // Reads `given`. The order of axes is that of `leaders`, tensors of the same sizes; NULL: their own.
    genfuse_status read(const genfuse_listed* given, int64_t count, const genfuse_listed* leaders,
                        const char* name, genfuse_message* message);

    const std::vector<Listed>& tensors() const { return listed_; }

    // In as many shares as threads are worth waking.
    Tiles tiles(int threads) const;

  private:
    std::vector<Listed> listed_;
};

}  // namespace genfuse
