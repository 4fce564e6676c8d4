// Runs of consecutive normals of one sample.
#pragma once

#include "common/box_muller.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Normals that one call of `normal_group` writes.
constexpr int kNormalGroup = 2 * 4 * kPhiloxBlocks;

// Block of each lane, such that interleaving within 16 bytes leaves the normals in order.
GENFUSE_INLINE u64 block_offsets() {
#if GENFUSE_VECTOR_BYTES == 64
    return u64{0, 4, 1, 5, 2, 6, 3, 7};
#elif GENFUSE_VECTOR_BYTES == 32
    return u64{0, 2, 1, 3};
#else
    return u64{0, 1};
#endif
}

// Even lanes from the low halves of `even`, odd lanes from those of `odd`.
GENFUSE_INLINE u32 zip_words(u64 even, u64 odd) {
    return reinterpret_cast<u32>((even & 0xFFFFFFFFu) | (odd << 32));
}

GENFUSE_INLINE void normal_group(float* to, uint64_t block, const PhiloxKey& key) {
    for (int half = 0; half < 2; ++half) {
        const uint64_t first = block + static_cast<uint64_t>(half * kPhiloxBlocks);
        const PhiloxWords w = philox(block_offsets() + first, key);
        const f32 r = radius(zip_words(w.word[0], w.word[2]));
        const SinCos32 angle = turn(zip_words(w.word[1], w.word[3]));
        const f32 cosines = r * angle.cosine, sines = r * angle.sine;
        store(to + half * 4 * kPhiloxBlocks, interleave_low(cosines, sines));
        store(to + half * 4 * kPhiloxBlocks + kLanes<float>, interleave_high(cosines, sines));
    }
}

GENFUSE_INLINE void normal_group(double* to, uint64_t block, const PhiloxKey& key) {
    for (int half = 0; half < 2; ++half) {
        const uint64_t first = block + static_cast<uint64_t>(half * kPhiloxBlocks);
        const u64 offsets = block_offsets();
        const PhiloxWords w = philox(offsets + first, key);
        double* const blocks = to + half * 4 * kPhiloxBlocks;
        for (int pair = 0; pair < 2; ++pair) {
            const f64 r = radius(w.word[2 * pair]);
            const SinCos64 angle = turn(w.word[2 * pair + 1]);
            const f64 cosines = r * angle.cosine, sines = r * angle.sine;
            for (int lane = 0; lane < kPhiloxBlocks; ++lane) {
                blocks[4 * offsets[lane] + 2 * pair] = cosines[lane];
                blocks[4 * offsets[lane] + 2 * pair + 1] = sines[lane];
            }
        }
    }
}

// Room that `normals` needs for `count` elements.
constexpr int64_t normals_room(int64_t count) {
    return (count + 3 + kNormalGroup - 1) / kNormalGroup * kNormalGroup;
}

// The normals of elements [element, element + count): a pointer into `room`, which it fills.
template <class T>
const T* normals(T* room, int64_t element, int64_t count, const PhiloxKey& key) {
    const int64_t skip = element & 3;
    const uint64_t block = static_cast<uint64_t>(element >> 2);
    for (int64_t done = 0; done < skip + count; done += kNormalGroup) {
        normal_group(room + done, block + static_cast<uint64_t>(done >> 2), key);
    }
    return room + skip;
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
