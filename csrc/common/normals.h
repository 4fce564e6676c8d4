// Runs of consecutive normals of one sample.
#pragma once

#include "common/box_muller.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Normals that one call of `normal_group` writes: enough vectors that words and Box-Muller can run one after
// the other, each with independent work in flight (together in one loop, latency doubles the time).
constexpr int kGroupVectors = 8;
constexpr int kNormalsPerVector = 4 * kPhiloxBlocks;
constexpr int kNormalGroup = kGroupVectors * kNormalsPerVector;

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

GENFUSE_INLINE void group_words(uint64_t block, const PhiloxKey& key, PhiloxWords (&words)[2]) {
    const u64 first = block_offsets() + block;
    const u64 blocks[2] = {first, first + static_cast<uint64_t>(kPhiloxBlocks)};
    philox(blocks, key, words);
}

inline void normal_group(float* to, uint64_t block, const PhiloxKey& key) {
    u32 radius_words[kGroupVectors], angle_words[kGroupVectors];
    for (int v = 0; v < kGroupVectors; v += 2) {
        PhiloxWords w[2];
        group_words(block + static_cast<uint64_t>(v * kPhiloxBlocks), key, w);
        for (int j = 0; j < 2; ++j) {
            radius_words[v + j] = zip_words(w[j].word[0], w[j].word[2]);
            angle_words[v + j] = zip_words(w[j].word[1], w[j].word[3]);
        }
    }
    for (int v = 0; v < kGroupVectors; ++v) {
        const f32 r = radius(radius_words[v]);
        const SinCos32 angle = turn(angle_words[v]);
        const f32 cosines = r * angle.cosine, sines = r * angle.sine;
        store(to + v * kNormalsPerVector, interleave_low(cosines, sines));
        store(to + v * kNormalsPerVector + kLanes<float>, interleave_high(cosines, sines));
    }
}

// A lane's two words give two neighbouring normals of its block.
GENFUSE_INLINE void store_pairs(double* to, f64 cosines, f64 sines) {
    const u64 offsets = block_offsets();
    for (int lane = 0; lane < kPhiloxBlocks; ++lane) {
        to[4 * offsets[lane]] = cosines[lane];
        to[4 * offsets[lane] + 1] = sines[lane];
    }
}

inline void normal_group(double* to, uint64_t block, const PhiloxKey& key) {
    for (int v = 0; v < kGroupVectors; v += 2) {
        PhiloxWords w[2];
        group_words(block + static_cast<uint64_t>(v * kPhiloxBlocks), key, w);
        for (int j = 0; j < 2; ++j) {
            for (int pair = 0; pair < 2; ++pair) {
                const f64 r = radius(w[j].word[2 * pair]);
                const SinCos64 angle = turn(w[j].word[2 * pair + 1]);
                store_pairs(to + (v + j) * kNormalsPerVector + 2 * pair, r * angle.cosine, r * angle.sine);
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
