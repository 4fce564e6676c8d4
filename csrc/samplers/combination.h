// Linear combinations of a step's terms, so that a solver's code reads like its paper.
#pragma once

#include "sampler_step/columns.h"

namespace genfuse {
namespace samplers {

constexpr int kTerms = GENFUSE_COLUMN_s_x - GENFUSE_COLUMN_y_x;
enum Term { kTermX, kTermM, kTermX0, kTermH0, kTermNoise = kTermH0 + GENFUSE_HISTORY_SLOTS, kTermNoisePrev };

// Σ coefficient·term; +, −, and · and / by a number.
struct Combination {
    double coefficients[kTerms] = {};

    static constexpr Combination of(int term) {
        Combination one{};
        one.coefficients[term] = 1.0;
        return one;
    }

    // The same combination with one term written in others.
    Combination substitute(Term term, const Combination& value) const;
};

inline Combination operator+(Combination a, const Combination& b) {
    for (int i = 0; i < kTerms; ++i) a.coefficients[i] = a.coefficients[i] + b.coefficients[i];
    return a;
}
inline Combination operator-(Combination a, const Combination& b) {
    for (int i = 0; i < kTerms; ++i) a.coefficients[i] = a.coefficients[i] - b.coefficients[i];
    return a;
}
inline Combination operator*(Combination a, double factor) {
    for (double& coefficient : a.coefficients) coefficient = coefficient * factor;
    return a;
}
inline Combination operator/(Combination a, double divisor) {
    for (double& coefficient : a.coefficients) coefficient = coefficient / divisor;
    return a;
}

inline Combination Combination::substitute(Term term, const Combination& value) const {
    Combination total = *this;
    const double coefficient = total.coefficients[term];
    total.coefficients[term] = 0.0;
    return total + value * coefficient;
}

constexpr Combination ZERO{};
constexpr Combination X = Combination::of(kTermX), M = Combination::of(kTermM), X0 = Combination::of(kTermX0);
constexpr Combination NOISE = Combination::of(kTermNoise), NOISE_PREV = Combination::of(kTermNoisePrev);
constexpr Combination HISTORY[] = {Combination::of(kTermH0), Combination::of(kTermH0 + 1),
                                   Combination::of(kTermH0 + 2), Combination::of(kTermH0 + 3)};

}  // namespace samplers
}  // namespace genfuse
