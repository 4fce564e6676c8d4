// Noise schedules of the C interface.
#include "embed/guarded.h"
#include "embed/settings.h"

using genfuse::refuse;
namespace samplers = genfuse::samplers;

namespace genfuse {
namespace {

constexpr int64_t kMostTimesteps = 10000000;

samplers::Array given_levels(const double* values, int64_t count) {
    samplers::Array levels(values, values + count);
    for (size_t t = 0; t < levels.size(); ++t) {
        const bool within = levels[t] >= 0 && levels[t] <= 1 && (levels[t] > 0 || t + 1 == levels.size());
        if (within && (t == 0 || levels[t] <= levels[t - 1])) continue;
        refuse("alphas_cumprod[%zu] is %g, expected descending values in (0, 1], of which the last may be 0",
               t, levels[t]);
    }
    return levels;
}

bool is(const genfuse_schedule& schedule, const char* name) {
    return !schedule.betas && !schedule.alphas_cumprod && schedule.name && strcmp(schedule.name, name) == 0;
}

}  // namespace

samplers::Array schedule_levels(const genfuse_schedule& schedule) {
    const int64_t count = schedule.num_train_timesteps;
    if (count < 1 || count > kMostTimesteps) {
        refuse("num_train_timesteps is %lld, expected 1 to %lld", static_cast<long long>(count),
               static_cast<long long>(kMostTimesteps));
    }
    if (schedule.alphas_cumprod) {
        samplers::Array levels = given_levels(schedule.alphas_cumprod, count);
        if (schedule.zero_terminal_snr)
            refuse("zero_terminal_snr is given beside alphas_cumprod, expected betas");
        if (schedule.finite_sigmas) levels.back() = 0x1p-24;
        return levels;
    }
    if (!schedule.betas && !schedule.name)
        refuse("schedule.name is NULL, expected a name, betas or alphas_cumprod");
    samplers::Array betas =
        schedule.betas ? samplers::Array(schedule.betas, schedule.betas + count)
                       : samplers::named_betas(schedule.name, count, schedule.beta_start, schedule.beta_end);
    return samplers::levels_of_betas(betas, schedule.zero_terminal_snr != 0, schedule.finite_sigmas != 0);
}

std::unique_ptr<samplers::Levels> levels_of(const genfuse_schedule& schedule) {
    if (is(schedule, "flow")) return std::make_unique<samplers::FlowLevels>();
    if (is(schedule, "edm")) {
        return std::make_unique<samplers::EDM>(schedule.sigma_min, schedule.sigma_max, schedule.rho,
                                               schedule.sigma_data);
    }
    return std::make_unique<samplers::ScheduleLevels>(samplers::NoiseSchedule(schedule_levels(schedule)));
}

}  // namespace genfuse

void genfuse_schedule_init(genfuse_schedule* schedule, size_t size) {
    genfuse_schedule defaults{};
    defaults.size = size < sizeof defaults ? size : sizeof defaults;
    defaults.name = "linear";
    defaults.num_train_timesteps = 1000;
    defaults.beta_start = 1e-4;
    defaults.beta_end = 0.02;
    defaults.sigma_min = 0.002;
    defaults.sigma_max = 80.0;
    defaults.rho = 7.0;
    defaults.sigma_data = 0.5;
    if (schedule) memcpy(schedule, &defaults, defaults.size);
}

genfuse_status genfuse_schedule_alphas_cumprod(const genfuse_schedule* schedule, double* alphas_cumprod,
                                               int64_t count) {
    return genfuse::guarded([&] {
        const genfuse_schedule given =
            genfuse::completed(schedule, genfuse_schedule_init, "genfuse_schedule");
        const samplers::Array levels = genfuse::schedule_levels(given);
        if (count != static_cast<int64_t>(levels.size()) || !alphas_cumprod) {
            refuse("count is %lld, expected num_train_timesteps = %zu, and room for as many",
                   static_cast<long long>(count), levels.size());
        }
        memcpy(alphas_cumprod, levels.data(), levels.size() * sizeof(double));
    });
}
