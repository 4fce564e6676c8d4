// Arguments that are one of a few names.
#pragma once

#include <stddef.h>

namespace genfuse {
namespace samplers {

// The place of `given` among `names`; anything else is refused, naming the argument and what it may be.
size_t check_name(const char* argument, const char* given, const char* const* names, size_t count);

template <size_t Count>
size_t check_name(const char* argument, const char* given, const char* const (&names)[Count]) {
    return check_name(argument, given, names, Count);
}

// "a, b, c" into `text`, cut off where it ends.
void list_names(char* text, size_t room, const char* const* names, size_t count);

}  // namespace samplers
}  // namespace genfuse
