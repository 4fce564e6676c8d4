#include "samplers/options.h"

#include <string.h>

#include "common/error.h"

namespace genfuse {
namespace samplers {
namespace {

double number_of(const genfuse_option& option, const char* expected) {
    if (option.text) refuse("option '%s' is '%.40s', expected %s", option.name, option.text, expected);
    return option.number;
}

}  // namespace

Options::Options(const genfuse_option* given, int64_t count, const genfuse_option* presets)
    : presets_(presets) {
    if (count < 0 || (count > 0 && !given)) {
        refuse("option_count is %lld, expected as many options as there are", static_cast<long long>(count));
    }
    for (int64_t i = 0; i < count; ++i) {
        if (!given[i].name) refuse("options[%lld] has no name", static_cast<long long>(i));
        given_.push_back(given[i]);
    }
}

const genfuse_option* Options::find(const char* name) {
    asked_.push_back(name);
    for (size_t i = given_.size(); i-- > 0;) {
        if (strcmp(given_[i].name, name) == 0) return &given_[i];
    }
    for (int i = 0; i < kPresets; ++i) {
        if (presets_[i].name && strcmp(presets_[i].name, name) == 0) return &presets_[i];
    }
    return nullptr;
}

double Options::number(const char* name, double otherwise) {
    const genfuse_option* const option = find(name);
    if (!option) return otherwise;
    const double value = number_of(*option, "a number");
    if (isnan(value) || (isinf(value) && !isinf(otherwise))) {
        refuse("option '%s' is %g, expected a finite number", name, value);
    }
    return value;
}

int64_t Options::integer(const char* name, int64_t otherwise) {
    const genfuse_option* const option = find(name);
    if (!option) return otherwise;
    const double value = number_of(*option, "a whole number");
    if (value != rint(value) || !(fabs(value) < 0x1p53)) {
        refuse("option '%s' is %g, expected a whole number", name, value);
    }
    return static_cast<int64_t>(value);
}

bool Options::flag(const char* name, bool otherwise) {
    const genfuse_option* const option = find(name);
    if (!option) return otherwise;
    const double value = number_of(*option, "0 or 1");
    if (value != 0 && value != 1) refuse("option '%s' is %g, expected 0 or 1", name, value);
    return value == 1;
}

const char* Options::text(const char* name, const char* otherwise) {
    const genfuse_option* const option = find(name);
    if (!option) return otherwise;
    if (!option->text) refuse("option '%s' is %g, expected a name, in `text`", name, option->number);
    return option->text;
}

std::vector<int64_t> Options::integers(const char* name) {
    asked_.push_back(name);
    std::vector<int64_t> values;
    for (const genfuse_option& option : given_) {
        if (strcmp(option.name, name) != 0) continue;
        const double value = number_of(option, "a whole number");
        if (value != rint(value) || !(fabs(value) < 0x1p53)) {
            refuse("option '%s' is %g, expected a whole number", name, value);
        }
        values.push_back(static_cast<int64_t>(value));
    }
    return values;
}

double Options::not_negative(const char* name, double otherwise) {
    const double value = number(name, otherwise);
    if (!(value >= 0)) refuse("option '%s' is %g, expected at least 0", name, value);
    return value;
}

double Options::positive(const char* name, double otherwise) {
    const double value = number(name, otherwise);
    if (!(value > 0)) refuse("option '%s' is %g, expected more than 0", name, value);
    return value;
}

double Options::share(const char* name, double otherwise) {
    const double value = number(name, otherwise);
    if (!(value >= 0 && value <= 1)) refuse("option '%s' is %g, expected a number in [0, 1]", name, value);
    return value;
}

int64_t Options::within(const char* name, int64_t otherwise, int64_t low, int64_t high) {
    const int64_t value = integer(name, otherwise);
    if (value < low || value > high) {
        refuse("option '%s' is %lld, expected %lld to %lld", name, static_cast<long long>(value),
               static_cast<long long>(low), static_cast<long long>(high));
    }
    return value;
}

void Options::finish() const {
    for (const genfuse_option& option : given_) {
        bool known = false;
        for (const char* const name : asked_) known = known || strcmp(option.name, name) == 0;
        if (known) continue;
        if (asked_.empty()) refuse("option '%.40s' is given, but this solver has no options", option.name);
        char list[400];
        list_names(list, sizeof list, asked_.data(), asked_.size());
        refuse("option '%.40s' is given, expected one of %s", option.name, list);
    }
}

}  // namespace samplers
}  // namespace genfuse
