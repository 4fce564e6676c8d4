#include "sampler_reduce/quantile.h"

#include <string.h>

#include <algorithm>
#include <cmath>

namespace genfuse {
namespace {

template <class Bits>
struct Neighbours {
    Bits low, high;
};

template <class Bits>
constexpr Bits kInfinity = sizeof(Bits) == 4 ? Bits{0x7f800000} : static_cast<Bits>(0x7ff0000000000000);

// The order statistics `rank` and `rank + 1` (the last one twice at the end): a histogram of the leading 11
// bits finds the bin that holds the first, and only that bin is partitioned. Both NaN where any key is.
template <class Bits>
Neighbours<Bits> select(Bits* keys, int64_t count, int64_t rank) {
    constexpr int shift = sizeof(Bits) * 8 - 12;  // the sign bit is zero
    constexpr int bins = 2048;
    int64_t histogram[bins] = {};
    Bits largest = 0;
    for (int64_t i = 0; i < count; ++i) {
        ++histogram[keys[i] >> shift];
        largest = std::max(largest, keys[i]);
    }
    if (largest > kInfinity<Bits>) return {largest, largest};  // NaN is above all numbers, and spreads
    int bin = 0;
    int64_t below = 0;
    while (below + histogram[bin] <= rank) below += histogram[bin++];
    int64_t held = 0;
    Bits above = ~Bits{0};
    for (int64_t i = 0; i < count; ++i) {
        const Bits key = keys[i];
        const Bits place = key >> shift;
        if (place == static_cast<Bits>(bin)) {
            keys[held++] = key;
        } else if (place > static_cast<Bits>(bin)) {
            above = std::min(above, key);
        }
    }
    Bits* const middle = keys + (rank - below);
    std::nth_element(keys, middle, keys + held);
    if (rank == count - 1) return {*middle, *middle};
    if (middle + 1 < keys + held) above = *std::min_element(middle + 1, keys + held);
    return {*middle, above};
}

template <class Value, class Bits>
double interpolate(Bits* bits, int64_t count, double quantile) {
    const double position = quantile * static_cast<double>(count - 1);
    const int64_t rank = std::min(static_cast<int64_t>(std::floor(position)), count - 1);
    const Neighbours<Bits> found = select(bits, count, rank);
    Value low, high;
    memcpy(&low, &found.low, sizeof low);
    const double weight = position - static_cast<double>(rank);
    memcpy(&high, weight > 0 ? &found.high : &found.low, sizeof high);  // next to the rank itself: no inf·0
    const double difference = static_cast<double>(high) - static_cast<double>(low);
    return weight < 0.5 ? low + weight * difference : high - (1 - weight) * difference;
}

}  // namespace

double quantile_of(float, uint32_t* bits, int64_t count, double quantile) {
    return interpolate<float>(bits, count, quantile);
}

double quantile_of(double, uint64_t* bits, int64_t count, double quantile) {
    return interpolate<double>(bits, count, quantile);
}

}  // namespace genfuse
