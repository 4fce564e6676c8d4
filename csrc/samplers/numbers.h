// Arrays of float64 and the few operations on them that Python's and numpy's rules, not C's, define.
//
// These sources are compiled with -fno-builtin: the compiler would compute logarithms of constants by itself,
// and pow(x, 2) as x·x, with other roundings than the C library's.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace genfuse {
namespace samplers {

using Array = std::vector<double>;

// Python's max and min: the first where they are equal, and where the first is NaN.
inline double larger(double a, double b) {
    return b > a ? b : a;
}
inline double smaller(double a, double b) {
    return b < a ? b : a;
}
inline int64_t least(int64_t a, int64_t b) {
    return b < a ? b : a;
}
inline int64_t most(int64_t a, int64_t b) {
    return b > a ? b : a;
}
inline double clamp(double x, double low, double high) {
    return smaller(larger(x, low), high);
}

inline double square(double x) {
    return x * x;
}

// numpy.linspace(start, stop, count)
Array linspace(double start, double stop, int64_t count);

// numpy.interp(x, arange(count), values)
double interpolate(double x, const Array& values);

// math.fsum: the exact sum, rounded once.
double exact_sum(const double* terms, int count);

}  // namespace samplers
}  // namespace genfuse
