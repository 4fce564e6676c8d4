// Whole numbers, divided.
#pragma once

#include <stdint.h>

namespace genfuse {

// Rounded up; for positive numbers.
__attribute__((always_inline)) inline int64_t ceil_divide(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

}  // namespace genfuse
