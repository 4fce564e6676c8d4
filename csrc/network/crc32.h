// CRC-32 as zlib, PNG and Python's zlib.crc32 have it.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace genfuse {

uint32_t crc32(const void* data, size_t bytes);

}  // namespace genfuse
