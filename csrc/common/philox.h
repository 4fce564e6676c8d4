// Philox4x32-10 (Salmon et al., SC11), a block in each 64-bit lane.
#pragma once

#include "common/simd.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int kPhiloxRounds = 10;
constexpr int kPhiloxBlocks = kLanes<uint64_t>;  // blocks in flight in one call

// What one sample's noise of one row and stream has in common.
struct PhiloxKey {
    u64 round0[kPhiloxRounds];
    u64 round1[kPhiloxRounds];
    u64 row;
    u64 stream;

    PhiloxKey() = default;
    PhiloxKey(uint64_t seed, uint32_t row_index, uint32_t stream_index) {
        uint32_t key0 = static_cast<uint32_t>(seed);
        uint32_t key1 = static_cast<uint32_t>(seed >> 32);
        for (int r = 0; r < kPhiloxRounds; ++r) {
            round0[r] = broadcast<u64>(static_cast<uint64_t>(key0));
            round1[r] = broadcast<u64>(static_cast<uint64_t>(key1));
            key0 += 0x9E3779B9u;
            key1 += 0xBB67AE85u;
        }
        row = broadcast<u64>(static_cast<uint64_t>(row_index));
        stream = broadcast<u64>(static_cast<uint64_t>(stream_index));
    }
};

// The four words of each block, in the low half of each lane; the high halves hold anything.
struct PhiloxWords {
    u64 word[4];
};

GENFUSE_INLINE PhiloxWords philox(u64 block, const PhiloxKey& key) {
    const u64 multiplier0 = broadcast<u64>(uint64_t{0xD2511F53});
    const u64 multiplier1 = broadcast<u64>(uint64_t{0xCD9E8D57});
    u64 c0 = block, c1 = block >> 32, c2 = key.row, c3 = key.stream;
    for (int r = 0; r < kPhiloxRounds; ++r) {
        const u64 product0 = multiply_low_words(c0, multiplier0);
        const u64 product1 = multiply_low_words(c2, multiplier1);
        c0 = (product1 >> 32) ^ (c1 ^ key.round0[r]);
        c2 = (product0 >> 32) ^ (c3 ^ key.round1[r]);
        c1 = product1;
        c3 = product0;
    }
    return {{c0, c1, c2, c3}};
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
