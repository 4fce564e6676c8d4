// Nodes between those of a grid, for solvers that call the model in the middle of a step.
#pragma once

#include "samplers/grid.h"
#include "samplers/schedule.h"

namespace genfuse {
namespace samplers {

// alpha of nodes at noise-to-signal levels (k,), in the grid's own coordinates.
Array middle_signal(const Grid& grid, const Array& ratios, const NoiseSchedule* schedule);

// The model's times there.
Array middle_times(const Array& ratios, const NoiseSchedule* schedule);

}  // namespace samplers
}  // namespace genfuse
