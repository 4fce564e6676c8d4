// Signal and noise level at every model time, and the grids that a sampler can step over in them.
#pragma once

#include "samplers/prediction.h"
#include "samplers/schedule.h"
#include "samplers/table.h"

namespace genfuse {
namespace samplers {

// Which nodes: at most one of the three, else the levels' own.
struct Nodes {
    const char* spacing = nullptr;
    const char* sigma_kind = nullptr;
    Array timesteps, sigmas;
    bool given_timesteps = false, given_sigmas = false;
};

struct Ends {
    double alpha, sigma;
};

enum class LevelKind { schedule, flow, edm };

// What a network was trained on: the levels of noise, the time it is given at each, what it predicts.
class Levels {
  public:
    virtual ~Levels() = default;
    virtual LevelKind kind() const = 0;

    // alpha and sigma at a model time.
    virtual Ends at(double timestep) const = 0;

    // `steps` intervals down to no noise.
    virtual Grid grid(int64_t steps, const Nodes& nodes) const = 0;

    // How the network's output is read; NULL: what a network on these levels predicts unless told otherwise.
    virtual Predictor predictor(const char* prediction) const = 0;

    // Sets the scales of sample and network input, for rows at levels sigma (rows,).
    virtual void scale(Table*, const Array&) const {}

    virtual const NoiseSchedule* schedule() const { return nullptr; }
};

// A noise schedule's: variance preserving, at its training times.
class ScheduleLevels : public Levels {
  public:
    explicit ScheduleLevels(NoiseSchedule schedule) : schedule_(static_cast<NoiseSchedule&&>(schedule)) {}
    LevelKind kind() const override { return LevelKind::schedule; }
    Ends at(double timestep) const override;
    Grid grid(int64_t steps, const Nodes& nodes) const override;
    Predictor predictor(const char* prediction) const override;
    const NoiseSchedule* schedule() const override { return &schedule_; }

  private:
    NoiseSchedule schedule_;
};

// The straight flow x = (1 − sigma)·x0 + sigma·noise, at times 1000·sigma.
class FlowLevels : public Levels {
  public:
    LevelKind kind() const override { return LevelKind::flow; }
    Ends at(double timestep) const override;
    Grid grid(int64_t steps, const Nodes& nodes) const override;
    Predictor predictor(const char* prediction) const override;
};

// Levels from sigma_max down to sigma_min, even in sigma^(1/rho), then 0 (Karras et al. 2022, eq. 5).
class EDM : public Levels {
  public:
    EDM(double sigma_min, double sigma_max, double rho, double sigma_data);
    LevelKind kind() const override { return LevelKind::edm; }
    Ends at(double timestep) const override;
    Grid grid(int64_t steps, const Nodes& nodes) const override;
    Predictor predictor(const char* prediction) const override;
    void scale(Table* table, const Array& sigma) const override;

  private:
    double sigma_min_, sigma_max_, rho_, sigma_data_;
};

}  // namespace samplers
}  // namespace genfuse
