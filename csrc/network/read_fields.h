// The fields of a call, set from a plan that nobody vouches for.
#pragma once

#include <stddef.h>

#include "network/fields.h"
#include "network/file.h"

namespace genfuse {

// What operands may lie in.
struct PlanMemory {
    int64_t arena_bytes;
    const std::vector<FileTensor>& tensors;
};

// A pointer of the call's arguments that points into the arena.
struct Place {
    size_t field;  // bytes into the arguments
    int64_t at;    // bytes into the arena
};

class ReadFields : public Fields {
  public:
    using Fields::number;
    using Fields::real;

    // `args`: what the fields are of.
    ReadFields(const Json& step, const PlanMemory& memory, const void* args)
        : step_(step), memory_(memory), args_(static_cast<const char*>(args)) {}

    void number(const char* name, int64_t& value, int64_t least, int64_t most) override;
    void real(const char* name, double& value) override;
    void elements(const char* name, __int128 count, int64_t item, const Reach& reach, Access access) override;
    void memory(const char* name, void* place, const Reach& reach, Access access, bool optional) override;

    // Refuses fields that nobody asked for, and what is written where something else lies.
    void finish() const;

    const std::vector<Place>& places() const { return places_; }

  private:
    struct Used {
        std::string name;
        int64_t begin, end;
        Access access;
    };

    const Json& field(const char* name);
    void use_arena(const char* name, void* place, int64_t at, const Reach& reach, Access access);
    void use_tensor(const char* name, void* place, const std::vector<Json>& given, const Reach& reach,
                    Access access) const;

    const Json& step_;
    const PlanMemory memory_;
    const char* const args_;
    size_t taken_ = 1;  // "op"
    std::vector<Place> places_;
    std::vector<Used> used_;
};

}  // namespace genfuse
