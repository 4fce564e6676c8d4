// A solver's own options, by name: what a caller gives, over what makes a named solver of a family.
#pragma once

#include <vector>

#include "include/genfuse.h"
#include "samplers/names.h"
#include "samplers/numbers.h"

namespace genfuse {
namespace samplers {

class Options {
  public:
    static constexpr int kPresets = 2;

    // `presets`, kPresets of them, stand where nothing is given; those without a name are none.
    Options(const genfuse_option* given, int64_t count, const genfuse_option* presets);

    // Each asks for one option, by its default; one of another kind, NaN and infinity are refused.
    double number(const char* name, double otherwise);
    int64_t integer(const char* name, int64_t otherwise);
    bool flag(const char* name, bool otherwise);
    const char* text(const char* name, const char* otherwise);
    std::vector<int64_t> integers(const char* name);  // all that are given under the name
    double not_negative(const char* name, double otherwise);
    double positive(const char* name, double otherwise);
    double share(const char* name, double otherwise);
    int64_t within(const char* name, int64_t otherwise, int64_t low, int64_t high);

    template <size_t Count>
    size_t choice(const char* name, const char* otherwise, const char* const (&names)[Count]) {
        return check_name(name, text(name, otherwise), names, Count);
    }

    // A share of noise at each time (SA-Solver's tau), where the caller gives a function.
    double (*tau)(double timestep, void* context) = nullptr;
    void* tau_context = nullptr;

    // Refuses what nobody has asked for.
    void finish() const;

  private:
    std::vector<genfuse_option> given_;
    const genfuse_option* const presets_;
    std::vector<const char*> asked_;

    // The last one given, else the preset, else NULL.
    const genfuse_option* find(const char* name);
};

}  // namespace samplers
}  // namespace genfuse
