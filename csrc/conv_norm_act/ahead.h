// What the epilogue will read and write, fetched into the cache while the product keeps the processor busy:
// 64 bytes of every pixel, far apart, are nothing that a processor foresees by itself.
#pragma once

#include "common/runs.h"
#include "conv_norm_act/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// The cache lines of a part of an image, as three nested loops.
struct Lines {
    const char* base = nullptr;
    int64_t count[3] = {}, stride[3] = {};  // innermost first; bytes

    int64_t size() const { return base ? count[0] * count[1] * count[2] : 0; }
};

constexpr int64_t kLine = 64;

// Channels [c, c + channels) of rows y, y + step, ... of a sample; a last block's padding is not counted.
template <class Stored>
Lines lines_of(const genfuse_image& image, int64_t n, int64_t c, int64_t channels, int64_t y, int64_t step,
               int64_t rows, int64_t width) {
    constexpr int64_t size = sizeof(Stored);
    const auto lines = [](int64_t elements) { return (elements * size + kLine - 1) / kLine; };
    Lines found;
    if (!image.data || rows < 1) return found;
    found.base = reinterpret_cast<const char*>(row_of<const Stored>(image, n, c, y));
    const int64_t down = step * image.stride_h * size;
    const auto nest = [&found](int64_t inner, int64_t middle, int64_t middle_stride, int64_t outer,
                               int64_t outer_stride) {
        found.count[0] = inner, found.stride[0] = kLine;
        found.count[1] = middle, found.stride[1] = middle_stride;
        found.count[2] = outer, found.stride[2] = outer_stride;
    };
    switch (image.layout) {
        case GENFUSE_PLANAR:
            nest(lines(width), rows, down, channels, image.stride_c * size);
            break;
        case GENFUSE_CHANNELS_LAST:
            nest(lines(channels), width, image.stride_w * size, rows, down);
            break;
        default:
            nest(lines(width * kBlock), rows, down, blocks_of(channels), image.stride_c * size);
    }
    return found;
}

// Fetches parts of images a few lines at a time.
class Ahead {
  public:
    static constexpr int kMost = 64;

    // Nothing more is taken once kMost parts are there: what is not fetched is only read later.
    void add(const Lines& lines) {
        if (lines.size() == 0 || parts_ == kMost) return;
        part_[parts_++] = lines;
        left_ += lines.size();
    }

    // One of `steps` equal steps.
    void step(int64_t steps) {
        if (!started_) {
            started_ = true;
            a_step_ = (left_ + steps - 1) / steps;
        }
        for (int64_t i = 0; i < a_step_ && at_ < parts_; ++i) fetch();
    }

  private:
    void fetch() {
        const Lines& lines = part_[at_];
        const char* const address = lines.base + place_[0] * lines.stride[0] + place_[1] * lines.stride[1] +
                                    place_[2] * lines.stride[2];
        __builtin_prefetch(address, 0, 2);
        for (int axis = 0; axis < 3; ++axis) {
            if (++place_[axis] < lines.count[axis]) return;
            place_[axis] = 0;
        }
        ++at_;
    }

    Lines part_[kMost];
    int parts_ = 0, at_ = 0;
    int64_t place_[3] = {}, left_ = 0, a_step_ = 0;
    bool started_ = false;
};

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
