// How a sample's elements lie in memory.
#pragma once

#include "common/tensor.h"

namespace genfuse {

// A sample in logical (row-major) order, adjacent axes merged where their strides allow, axes of size 1 left
// out: as few axes as describe it.
struct Layout {
    int axes = 0;
    int64_t size[GENFUSE_MAX_AXES];
    int64_t stride[GENFUSE_MAX_AXES];

    // Whether element e lies at offset e.
    bool dense() const { return axes == 0 || (axes == 1 && stride[0] == 1); }
    bool operator==(const Layout& other) const;
};

// The layout of one sample: axes 1... of `shape`.
Layout sample_layout(const genfuse_shape& shape, const int64_t* stride);

// Elements of one sample.
int64_t sample_numel(const genfuse_shape& shape);

// Where a layout is dense channels-last (channels innermost, pixels outside): the number of channels, else 0.
int64_t channels_last(const Layout& layout);

// Pixels that a tile of about `tile` elements takes of a channels-last sample, when its noise is generated
// channel by channel: whole groups of normals where they fit. 0: too many channels for that.
int64_t interleaved_pixels(int64_t channels, int64_t tile);

// Whether the layout visits each of its `numel` offsets 0 .. numel − 1 exactly once, in any order.
bool permuted_dense(const Layout& layout, int64_t numel);

}  // namespace genfuse
