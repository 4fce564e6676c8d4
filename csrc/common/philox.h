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

// Several vectors of blocks side by side: one alone would wait for its own multiplications.
template <int Count>
GENFUSE_INLINE void philox(const u64 (&block)[Count], const PhiloxKey& key, PhiloxWords (&words)[Count]) {
    const u64 multiplier0 = broadcast<u64>(uint64_t{0xD2511F53});
    const u64 multiplier1 = broadcast<u64>(uint64_t{0xCD9E8D57});
    u64 c0[Count], c1[Count], c2[Count], c3[Count];
    for (int j = 0; j < Count; ++j) {
        c0[j] = block[j];
        c1[j] = block[j] >> 32;
        c2[j] = key.row;
        c3[j] = key.stream;
    }
    for (int r = 0; r < kPhiloxRounds; ++r) {
        for (int j = 0; j < Count; ++j) {
            const u64 product0 = multiply_low_words(c0[j], multiplier0);
            const u64 product1 = multiply_low_words(c2[j], multiplier1);
            c0[j] = (product1 >> 32) ^ (c1[j] ^ key.round0[r]);
            c2[j] = (product0 >> 32) ^ (c3[j] ^ key.round1[r]);
            c1[j] = product1;
            c3[j] = product0;
        }
    }
    for (int j = 0; j < Count; ++j) words[j] = {{c0[j], c1[j], c2[j], c3[j]}};
}

// Even lanes from the low halves of `even`, odd lanes from those of `odd`.
GENFUSE_INLINE u32 zip_words(u64 even, u64 odd) {
    return reinterpret_cast<u32>((even & 0xFFFFFFFFu) | (odd << 32));
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
