// Noise in the order of a dense channels-last sample.
#pragma once

#include "common/normals.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// The normals of `run` pixels from `pixel` on, of all channels, channel innermost: generated channel by
// channel, because a sample's noise belongs to its logical (C, pixel) index. `channel_room` holds one
// channel's run.
template <class T>
void interleaved_normals(T* to, T* channel_room, int64_t channels, int64_t pixels, int64_t pixel, int64_t run,
                         const PhiloxKey& key) {
    for (int64_t c = 0; c < channels; ++c) {
        const T* const channel = normals(channel_room, c * pixels + pixel, run, key);
        T* const first = to + c;
        for (int64_t p = 0; p < run; ++p) first[p * channels] = channel[p];
    }
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
