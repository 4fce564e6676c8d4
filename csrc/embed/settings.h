// The structures that callers fill in, as this library knows them: fields that an older caller's do not have
// yet take their defaults.
#pragma once

#include <string.h>

#include <memory>

#include "common/error.h"
#include "include/genfuse.h"
#include "samplers/levels.h"

namespace genfuse {

// A copy of `given`, over the defaults that `init` writes. NULL: the defaults.
template <class Settings>
Settings completed(const Settings* given, void (*init)(Settings*, size_t), const char* name) {
    Settings settings;
    init(&settings, sizeof settings);
    if (!given) return settings;
    if (given->size < sizeof given->size || given->size > 65536) {
        refuse("%s.size is %zu, expected sizeof(%s), as %s_init writes it", name, given->size, name, name);
    }
    memcpy(&settings, given, given->size < sizeof settings ? given->size : sizeof settings);
    settings.size = sizeof settings;
    return settings;
}

// alphas_cumprod of a schedule of training timesteps.
samplers::Array schedule_levels(const genfuse_schedule& schedule);

// The levels of any schedule.
std::unique_ptr<samplers::Levels> levels_of(const genfuse_schedule& schedule);

}  // namespace genfuse
