// The solvers by name: which function builds the table, and with which options.
#pragma once

#include "samplers/levels.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {

struct Solver {
    const char* name;
    Table (*build)(const Problem& problem, Options& options);
    unsigned levels;  // a bit a LevelKind: those whose coordinates and times its formulas are for
    genfuse_option presets[Options::kPresets];

    // The table on a grid; refuses options that the solver does not have, and levels that it is not for.
    Table table(const Grid& grid, const char* prediction, const Levels& levels, const Clip& clip,
                Options& options) const;
};

// By name; an unknown one is refused.
const Solver& solver(const char* name);

// The i-th name in alphabetical order, or NULL.
const char* solver_name(int64_t i);

}  // namespace samplers
}  // namespace genfuse
