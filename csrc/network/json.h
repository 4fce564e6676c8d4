// A strict reader of JSON (RFC 8259) as plans use it: all numbers are integers, no name comes twice.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

namespace genfuse {

class Json {
  public:
    enum class Kind { null, boolean, integer, text, list, object };
    struct Member;

    // The whole of `text` as one value. Refused, with the byte at fault, for anything else.
    static Json parse(std::string_view text);

    Kind kind = Kind::null;
    int64_t integer = 0;  // of a boolean 0 or 1
    std::string text;     // in UTF-8
    std::vector<Json> list;
    std::vector<Member> object;  // by name, in order

    // The member of that name, or NULL.
    const Json* find(std::string_view name) const;
};

struct Json::Member {
    std::string name;
    Json value;
};

}  // namespace genfuse
