#include "samplers/names.h"

#include <string.h>

#include "common/error.h"

namespace genfuse {
namespace samplers {

void list_names(char* text, size_t room, const char* const* names, size_t count) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used < room; ++i) {
        const int added = snprintf(text + used, room - used, i == 0 ? "%s" : ", %s", names[i]);
        used += added > 0 ? static_cast<size_t>(added) : room;
    }
}

size_t check_name(const char* argument, const char* given, const char* const* names, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        if (strcmp(given, names[i]) == 0) return i;
    }
    char list[400];
    list_names(list, sizeof list, names, count);
    refuse("%s is '%.40s', expected one of %s", argument, given, list);
}

}  // namespace samplers
}  // namespace genfuse
