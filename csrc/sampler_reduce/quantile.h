// Order statistics without sorting.
#pragma once

#include <stdint.h>

namespace genfuse {

// The quantile in (0, 1] of `count` non-negative values, interpolated linearly as torch.quantile does. The
// values are given by their bits, whose order is theirs (NaN last), and are reordered. NaN where any is NaN.
double quantile_of(float, uint32_t* bits, int64_t count, double quantile);
double quantile_of(double, uint64_t* bits, int64_t count, double quantile);

}  // namespace genfuse
