// exp(a + b·v) for a vector v, without overflow on the way to a representable result.
#pragma once

#include <math.h>

#include "common/box_muller.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

template <class T>
struct Exp2Constants;

template <>
struct Exp2Constants<float> {
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float shift = 0x1.8p23f;  // added and subtracted, rounds to an integer
    static constexpr float coefficients[] = {1.0f,
                                             0.693147206702832596f,
                                             0.240226509222887581f,
                                             0.0555032722667030206f,
                                             0.00961805667852463808f,
                                             0.00134004281776158379f,
                                             0.000154614446985691291f};  // 2^f on ±½, 2e-9
};

template <>
struct Exp2Constants<double> {
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double shift = 0x1.8p52;
    static constexpr double coefficients[] = {1.0,
                                              0.693147180559945308,
                                              0.240226506959100712,
                                              0.055504108664821699,
                                              0.00961812910762848305,
                                              0.00133335581463903528,
                                              0.000154035303933627553,
                                              0.0000152527338562934664,
                                              1.3215486815999977e-6,
                                              1.0178051192960649e-7,
                                              7.05489438634834804e-9,
                                              4.45667534104920588e-10,
                                              2.57335683087568912e-11};  // 4e-20
};

// exp(a + b·v) = 2^(whole + n)·2^f·factor with n + f = b·v·log₂e, and a·log₂e split in double beforehand.
template <class T>
class ScaledExp {
    using V = vec<T>;
    using I = typename Vector<T>::integer;
    using Constants = Exp2Constants<T>;

  public:
    ScaledExp(double a, double b) : slope_(static_cast<T>(b * kLog2E)) {
        const double whole = nearbyint(a * kLog2E);
        factor_ = static_cast<T>(exp2(a * kLog2E - whole));
        whole_ = static_cast<int>(whole < -kFar ? -kFar : whole > kFar ? kFar : whole);
    }

    GENFUSE_INLINE V operator()(V v) const {
        const V t =
            clamp(v * slope_, broadcast<V>(static_cast<T>(-kFar)), broadcast<V>(static_cast<T>(kFar)));
        const V shifted = t + Constants::shift;
        const V f = t - (shifted - Constants::shift);
        I power = reinterpret_cast<I>(shifted) - reinterpret_cast<I>(broadcast<V>(Constants::shift)) + whole_;
        power = power < -2 * (Constants::bias - 1) ? broadcast<I>(-2 * (Constants::bias - 1)) : power;
        power = power > 2 * Constants::bias ? broadcast<I>(2 * Constants::bias) : power;
        const I half = power >> 1;
        return polynomial(f, Constants::coefficients) * factor_ * power_of_two(half) *
               power_of_two(power - half);
    }

  private:
    static constexpr double kLog2E = 1.4426950408889634074;
    static constexpr double kFar =
        16000;  // an exponent that overflows, or underflows, whatever else is added
    T slope_, factor_;
    int whole_;

    GENFUSE_INLINE static V power_of_two(I exponent) {
        return reinterpret_cast<V>((exponent + Constants::bias) << Constants::mantissa);
    }
};

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
