// A cheap checksum, to notice that weights were edited.
#pragma once

#include <stdint.h>
#include <string.h>

namespace genfuse {

// Of 16 cache lines spread over the memory, or of all of it where it is that short.
inline uint64_t checksum(const void* data, int64_t bytes) {
    constexpr int64_t line = 64, lines = 16;
    const auto* const memory = static_cast<const unsigned char*>(data);
    uint64_t sum = static_cast<uint64_t>(bytes);
    const auto mix = [&](int64_t from, int64_t count) {
        for (int64_t i = 0; i < count; i += 8) {
            uint64_t word = 0;
            memcpy(&word, memory + from + i, static_cast<size_t>(count - i < 8 ? count - i : 8));
            sum = (sum ^ word) * 0x9E3779B97F4A7C15u;
            sum ^= sum >> 29;
        }
    };
    if (bytes <= line * lines) {
        mix(0, bytes);
    } else {
        for (int64_t i = 0; i < lines; ++i) mix((bytes - line) * i / (lines - 1), line);
    }
    return sum;
}

}  // namespace genfuse
