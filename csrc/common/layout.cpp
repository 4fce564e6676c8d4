#include "common/layout.h"

namespace genfuse {

bool Layout::operator==(const Layout& other) const {
    if (axes != other.axes) return false;
    for (int i = 0; i < axes; ++i) {
        if (size[i] != other.size[i] || stride[i] != other.stride[i]) return false;
    }
    return true;
}

Layout sample_layout(const genfuse_shape& shape, const int64_t* stride) {
    Layout layout;
    for (int axis = 1; axis < shape.axes; ++axis) {
        const int64_t size = shape.size[axis];
        if (size == 1) continue;
        const int last = layout.axes - 1;
        if (last >= 0 && layout.stride[last] == size * stride[axis]) {
            layout.size[last] *= size;
            layout.stride[last] = stride[axis];
        } else {
            layout.size[layout.axes] = size;
            layout.stride[layout.axes] = stride[axis];
            ++layout.axes;
        }
    }
    return layout;
}

int64_t sample_numel(const genfuse_shape& shape) {
    int64_t numel = 1;
    for (int axis = 1; axis < shape.axes; ++axis) numel *= shape.size[axis];
    return numel;
}

int64_t channels_last(const Layout& layout) {
    const bool two = layout.axes == 2 && layout.stride[0] == 1 && layout.stride[1] == layout.size[0];
    return two ? layout.size[0] : 0;
}

int64_t interleaved_pixels(int64_t channels, int64_t tile) {
    if (channels == 0) return 0;
    const int64_t pixels = tile / channels;
    return pixels >= 256 ? pixels / 256 * 256 : pixels / 32 * 32;
}

bool permuted_dense(const Layout& layout, int64_t numel) {
    int64_t reached = 1;  // offsets below this are visited by the axes found so far
    for (int found = 0; found < layout.axes; ++found) {
        int next = -1;
        for (int axis = 0; axis < layout.axes; ++axis) {
            if (layout.stride[axis] == reached) next = axis;
        }
        if (next < 0) return false;
        reached *= layout.size[next];
    }
    return reached == numel;
}

}  // namespace genfuse
