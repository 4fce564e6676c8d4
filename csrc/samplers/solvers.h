// Every solver: a function from a grid, a prediction and options to a table, one file a family.
#pragma once

#include "samplers/options.h"
#include "samplers/schedule.h"
#include "samplers/table.h"

namespace genfuse {
namespace samplers {

// What a solver is built on.
struct Problem {
    const Grid& grid;
    const Predictor& prediction;
    const Clip& clip;
    const NoiseSchedule* schedule;  // nullptr: a flow's, or EDM's
};

// Each reads all of its options before its first row, then calls `options.finish()`.
Table ddim(const Problem& problem, Options& options);
Table ddpm(const Problem& problem, Options& options);
Table deis(const Problem& problem, Options& options);
Table dpm2(const Problem& problem, Options& options);
Table dpm2_ancestral(const Problem& problem, Options& options);
Table dpmpp_multistep(const Problem& problem, Options& options);
Table dpmpp_sde(const Problem& problem, Options& options);
Table dpmpp_singlestep(const Problem& problem, Options& options);
Table euler(const Problem& problem, Options& options);
Table euler_ancestral(const Problem& problem, Options& options);
Table flow_euler(const Problem& problem, Options& options);
Table flow_heun(const Problem& problem, Options& options);
Table heun(const Problem& problem, Options& options);
Table ipndm(const Problem& problem, Options& options);
Table lcm(const Problem& problem, Options& options);
Table lms(const Problem& problem, Options& options);
Table pndm(const Problem& problem, Options& options);
Table sa_solver(const Problem& problem, Options& options);
Table tcd(const Problem& problem, Options& options);
Table unipc(const Problem& problem, Options& options);

// A row's options without a stored output, and with one.
inline RowOptions row_of(const Clip& clip) {
    RowOptions row;
    row.clip = clip;
    return row;
}
inline RowOptions storing(const Clip& clip, const Combination* store, int64_t slot = 0) {
    RowOptions row;
    row.clip = clip;
    row.store = store;
    row.slot = slot;
    return row;
}

// Weights of the newest to the oldest of 1 to 4 slopes at even steps (Liu et al. 2022, eq. 12).
constexpr double ADAMS_BASHFORTH[4][4] = {{1.0},
                                          {3.0 / 2, -1.0 / 2},
                                          {23.0 / 12, -16.0 / 12, 5.0 / 12},
                                          {55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24}};

}  // namespace samplers
}  // namespace genfuse
