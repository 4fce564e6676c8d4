// Philox4x32-10 (Salmon et al., SC11): one block of four words a call.
#pragma once

#include "common/cuda/stored.h"

namespace genfuse {

struct PhiloxWords {
    uint32 word[4];
};

// What one sample's noise of one row and stream has in common.
struct PhiloxKey {
    uint64 seed;
    uint32 row, stream;
};

__device__ inline PhiloxWords philox(uint64 block, const PhiloxKey& key) {
    uint32 c0 = static_cast<uint32>(block), c1 = static_cast<uint32>(block >> 32);
    uint32 c2 = key.row, c3 = key.stream;
    uint32 k0 = static_cast<uint32>(key.seed), k1 = static_cast<uint32>(key.seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint32 high0 = __umulhi(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
        const uint32 high1 = __umulhi(c2, 0xCD9E8D57u), low1 = c2 * 0xCD9E8D57u;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

}  // namespace genfuse
