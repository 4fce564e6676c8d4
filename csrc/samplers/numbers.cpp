#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

Array linspace(double start, double stop, int64_t count) {
    Array values(static_cast<size_t>(count));
    const double delta = stop - start;
    const double divisions = static_cast<double>(count - 1);
    const double step = count > 1 ? delta / divisions : 0.0;
    for (int64_t i = 0; i < count; ++i) {
        const double place = static_cast<double>(i);
        // numpy takes this way too where the step underflows, and for a single value
        const double offset = step == 0 ? (count > 1 ? place / divisions : place) * delta : place * step;
        values[static_cast<size_t>(i)] = offset + start;
    }
    if (count > 1) values.back() = stop;
    return values;
}

double interpolate(double x, const Array& values) {
    const double last = static_cast<double>(values.size() - 1);
    if (isnan(x)) return x;
    if (x <= 0) return values.front();
    if (x >= last) return values.back();
    const double whole = floor(x);
    const size_t low = static_cast<size_t>(whole);
    if (whole == x) return values[low];
    const double slope = (values[low + 1] - values[low]) / ((whole + 1) - whole);
    double value = slope * (x - whole) + values[low];
    if (isnan(value)) {
        value = slope * (x - (whole + 1)) + values[low + 1];
        if (isnan(value) && values[low] == values[low + 1]) value = values[low];
    }
    return value;
}

// Shewchuk's partial sums (1997): numbers without common bits whose sum is exact.
double exact_sum(const double* terms, int count) {
    constexpr int kRoom = 64;
    double partial[kRoom];
    int held = 0;
    for (int k = 0; k < count; ++k) {
        double x = terms[k];
        int kept = 0;
        for (int i = 0; i < held; ++i) {
            double y = partial[i];
            if (fabs(x) < fabs(y)) {
                const double swapped = x;
                x = y;
                y = swapped;
            }
            const double high = x + y;
            const double low = y - (high - x);
            if (low != 0) partial[kept++] = low;
            x = high;
        }
        held = kept;
        if (x != 0 && held < kRoom) partial[held++] = x;
    }
    double high = 0, low = 0;
    if (held > 0) high = partial[--held];
    while (held > 0 && low == 0) {
        const double x = high, y = partial[--held];
        high = x + y;
        low = y - (high - x);
    }
    // half a unit in the last place: the next partial sum says which way to round
    if (held > 0 && ((low < 0 && partial[held - 1] < 0) || (low > 0 && partial[held - 1] > 0))) {
        const double doubled = low * 2, rounded = high + doubled;
        if (doubled == rounded - high) high = rounded;
    }
    return high;
}

}  // namespace samplers
}  // namespace genfuse
