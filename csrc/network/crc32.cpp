#include "network/crc32.h"

#include <array>

namespace genfuse {
namespace {

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// Table i advances a byte's remainder by i bytes more, so that eight bytes go at once.
Tables make_tables() {
    Tables tables;
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t rest = byte;
        for (int bit = 0; bit < 8; ++bit) rest = rest & 1 ? rest >> 1 ^ 0xEDB88320u : rest >> 1;
        tables[0][byte] = rest;
    }
    for (size_t i = 1; i < 8; ++i) {
        for (uint32_t byte = 0; byte < 256; ++byte) {
            const uint32_t before = tables[i - 1][byte];
            tables[i][byte] = before >> 8 ^ tables[0][before & 0xFF];
        }
    }
    return tables;
}

}  // namespace

uint32_t crc32(const void* data, size_t bytes) {
    static const Tables tables = make_tables();
    const auto* at = static_cast<const unsigned char*>(data);
    uint32_t rest = ~0u;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint32_t first = rest;
        for (int i = 0; i < 4; ++i) first ^= static_cast<uint32_t>(at[i]) << 8 * i;
        rest = tables[7][first & 0xFF] ^ tables[6][first >> 8 & 0xFF] ^ tables[5][first >> 16 & 0xFF] ^
               tables[4][first >> 24] ^ tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^
               tables[0][at[7]];
    }
    for (; bytes > 0; --bytes, ++at) rest = rest >> 8 ^ tables[0][(rest ^ *at) & 0xFF];
    return ~rest;
}

}  // namespace genfuse
