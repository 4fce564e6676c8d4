#include "network/read_fields.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace genfuse {
namespace {

// A number as C99 and Python's float.hex write it, exact in every locale: "-0x1.8p+3", "inf".
bool parse_real(std::string_view text, double& value) {
    const bool negative = !text.empty() && text[0] == '-';
    if (negative) text.remove_prefix(1);
    if (text == "inf") {
        value = negative ? -INFINITY : INFINITY;
        return true;
    }
    if (text.substr(0, 2) != "0x") return false;
    text.remove_prefix(2);
    uint64_t digits = 0;
    int places = 0, count = 0, behind = 0;
    for (; !text.empty() && text[0] != 'p'; text.remove_prefix(1)) {
        if (text[0] == '.') {
            if (behind++ > 0) return false;
            continue;
        }
        const char low = static_cast<char>(text[0] | 0x20);
        const bool decimal = text[0] >= '0' && text[0] <= '9';
        if (!decimal && (low < 'a' || low > 'f')) return false;
        if (++count > 14) return false;  // one digit before the point and 13 behind are all of a float64
        digits = digits << 4 | static_cast<uint64_t>(decimal ? text[0] - '0' : low - 'a' + 10);
        places += behind;
    }
    if (count == 0 || text.size() < 2) return false;
    text.remove_prefix(1);
    const bool down = text[0] == '-';
    if (text[0] == '-' || text[0] == '+') text.remove_prefix(1);
    if (text.empty() || text.size() > 4) return false;
    int exponent = 0;
    for (const char digit : text) {
        if (digit < '0' || digit > '9') return false;
        exponent = 10 * exponent + (digit - '0');
    }
    value = std::ldexp(static_cast<double>(digits), (down ? -exponent : exponent) - 4 * places);
    if (negative) value = -value;
    return true;
}

}  // namespace

const Json& ReadFields::field(const char* name) {
    const Json* const found = step_.find(name);
    if (!found) throw Refused(std::string("'") + name + "' is missing");
    ++taken_;
    return *found;
}

void ReadFields::number(const char* name, int64_t& value, int64_t least, int64_t most) {
    const Json& found = field(name);
    if (found.kind != Json::Kind::integer) throw Refused(std::string("'") + name + "' is no integer");
    if (found.integer < least || found.integer > most) {
        throw Refused(std::string("'") + name + "' is " + std::to_string(found.integer) + ", expected " +
                      std::to_string(least) + " to " + std::to_string(most));
    }
    value = found.integer;
}

void ReadFields::real(const char* name, double& value) {
    const Json& found = field(name);
    if (found.kind != Json::Kind::text || !parse_real(found.text, value))
        throw Refused(std::string("'") + name + "' is no number, expected one such as \"0x1.8p+3\"");
}

void ReadFields::elements(const char* name, __int128 count, int64_t item, const Reach& reach, Access access) {
    if (count > kMostStride) throw Refused(std::string("'") + name + "' has more elements than any memory");
    if (access != Access::reads && count * item > reach.bytes())
        throw Refused(std::string("'") + name + "' has elements that lie on each other");
}

void ReadFields::memory(const char* name, void* place, const Reach& reach, Access access, bool optional) {
    const Json& found = field(name);
    if (found.kind == Json::Kind::integer) {
        use_arena(name, place, found.integer, reach, access);
    } else if (found.kind == Json::Kind::list) {
        use_tensor(name, place, found.list, reach, access);
    } else if (found.kind != Json::Kind::null) {
        throw Refused(std::string("'") + name + "' is no place in memory");
    } else if (!optional) {
        throw Refused(std::string("'") + name + "' is absent");
    }
}

void ReadFields::use_arena(const char* name, void* place, int64_t at, const Reach& reach, Access access) {
    const int64_t bytes = reach.bytes();
    if (access == Access::packs) throw Refused(std::string("'") + name + "' is no tensor of the file");
    if (at < 0 || at > memory_.arena_bytes || bytes > memory_.arena_bytes - at) {
        throw Refused(std::string("'") + name + "' reaches from byte " + std::to_string(at) + " on for " +
                      std::to_string(bytes) + " bytes, the arena has " + std::to_string(memory_.arena_bytes));
    }
    if (at % reach.alignment() != 0) throw Refused(std::string("'") + name + "' is not aligned");
    places_.push_back({static_cast<size_t>(static_cast<const char*>(place) - args_), at});
    used_.push_back({name, at, at + bytes, access});
    const void* const there = this;  // anything: set in every run
    std::memcpy(place, &there, sizeof there);
}

void ReadFields::use_tensor(const char* name, void* place, const std::vector<Json>& given, const Reach& reach,
                            Access access) const {
    if (access == Access::writes || access == Access::writes_in_place)
        throw Refused(std::string("'") + name + "' is written, but lies in the file");
    if (given.size() != 2 || given[0].kind != Json::Kind::integer || given[1].kind != Json::Kind::integer ||
        given[0].integer < 0 || static_cast<uint64_t>(given[0].integer) >= memory_.tensors.size())
        throw Refused(std::string("'") + name + "' is in none of the plan's tensors");
    const std::string_view all = memory_.tensors[static_cast<size_t>(given[0].integer)].bytes;
    const int64_t at = given[1].integer, size = static_cast<int64_t>(all.size());
    if (at < 0 || at > size || reach.bytes() > size - at) {
        throw Refused(std::string("'") + name + "' reaches from byte " + std::to_string(at) + " on for " +
                      std::to_string(reach.bytes()) + " bytes, its tensor has " + std::to_string(size));
    }
    const char* const there = all.data() + at;
    if (reinterpret_cast<uintptr_t>(there) % static_cast<uintptr_t>(reach.alignment()) != 0)
        throw Refused(std::string("'") + name + "' is not aligned");
    std::memcpy(place, &there, sizeof there);
}

void ReadFields::finish() const {
    if (taken_ != step_.object.size())
        throw Refused("has " + std::to_string(step_.object.size()) + " fields, expected " +
                      std::to_string(taken_));
    for (const Used& written : used_) {
        if (written.access == Access::reads) continue;
        for (const Used& other : used_) {
            if (&other == &written || written.begin >= other.end || other.begin >= written.end) continue;
            const bool in_place = written.access == Access::writes_in_place &&
                                  other.access == Access::reads && other.begin == written.begin;
            if (!in_place) throw Refused("'" + written.name + "' lies on '" + other.name + "'");
        }
    }
}

}  // namespace genfuse
