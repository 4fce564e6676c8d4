#include "network/json.h"

#include <algorithm>

#include "network/fields.h"

namespace genfuse {
namespace {

constexpr int kMostDepth = 16;
constexpr int64_t kMostValues = int64_t{1} << 22;

class Reader {
  public:
    explicit Reader(std::string_view text) : text_(text) {}

    Json whole() {
        Json value = read(0);
        skip_blanks();
        if (at_ != text_.size()) refuse("something behind the end");
        return value;
    }

  private:
    [[noreturn]] void refuse(const char* found) const {
        throw Refused("JSON: " + std::string(found) + " at byte " + std::to_string(at_));
    }

    int peek() const { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : -1; }

    void skip_blanks() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r') ++at_;
    }

    bool take(char wanted) {
        skip_blanks();
        if (peek() != static_cast<unsigned char>(wanted)) return false;
        ++at_;
        return true;
    }

    void expect(char wanted) {
        if (!take(wanted)) refuse((std::string("no '") + wanted + "'").c_str());
    }

    Json read(int depth) {
        if (depth > kMostDepth) refuse("values nested too deeply");
        if (++values_ > kMostValues) refuse("too many values");
        skip_blanks();
        Json value;
        switch (peek()) {
            case '{':
                read_object(value, depth);
                break;
            case '[':
                read_list(value, depth);
                break;
            case '"':
                value.kind = Json::Kind::text;
                value.text = read_text();
                break;
            case 't':
            case 'f':
            case 'n':
                read_word(value);
                break;
            default:
                read_integer(value);
        }
        return value;
    }

    void read_object(Json& value, int depth) {
        value.kind = Json::Kind::object;
        expect('{');
        if (take('}')) return;
        do {
            skip_blanks();
            std::string name = read_text();
            expect(':');
            value.object.push_back({std::move(name), read(depth + 1)});
        } while (take(','));
        expect('}');
        std::sort(value.object.begin(), value.object.end(),
                  [](const Json::Member& a, const Json::Member& b) { return a.name < b.name; });
        const auto twice =
            std::adjacent_find(value.object.begin(), value.object.end(),
                               [](const Json::Member& a, const Json::Member& b) { return a.name == b.name; });
        if (twice != value.object.end()) refuse("an object with the same name twice");
    }

    void read_list(Json& value, int depth) {
        value.kind = Json::Kind::list;
        expect('[');
        if (take(']')) return;
        do {
            value.list.push_back(read(depth + 1));
        } while (take(','));
        expect(']');
    }

    void read_word(Json& value) {
        const auto is = [&](std::string_view word) {
            if (text_.substr(at_, word.size()) != word) return false;
            at_ += word.size();
            return true;
        };
        value.kind = Json::Kind::boolean;
        if (is("true")) {
            value.integer = 1;
        } else if (is("null")) {
            value.kind = Json::Kind::null;
        } else if (!is("false")) {
            refuse("an unknown word");
        }
    }

    void read_integer(Json& value) {
        value.kind = Json::Kind::integer;
        const bool negative = peek() == '-';
        if (negative) ++at_;
        if (peek() < '0' || peek() > '9') refuse("no value");
        const bool zero = peek() == '0';
        int64_t number = 0;
        for (int digits = 0; peek() >= '0' && peek() <= '9'; ++digits, ++at_) {
            if (digits > 0 && zero) refuse("a number that begins with 0");
            // Towards the sign, so that the least number of 64 bits is read too.
            if (__builtin_mul_overflow(number, int64_t{10}, &number) ||
                __builtin_add_overflow(number, int64_t{negative ? '0' - peek() : peek() - '0'}, &number))
                refuse("a number beyond 64 bits");
        }
        if (peek() == '.' || peek() == 'e' || peek() == 'E') refuse("a fraction, expected an integer,");
        value.integer = number;
    }

    std::string read_text() {
        if (peek() != '"') refuse("no text");
        ++at_;
        std::string text;
        while (peek() != '"') {
            const int byte = peek();
            if (byte < 0x20) refuse(byte < 0 ? "a text without an end" : "a control character in a text");
            if (byte == '\\') {
                ++at_;
                read_escape(text);
            } else if (byte < 0x80) {
                text.push_back(static_cast<char>(byte));
                ++at_;
            } else {
                read_multibyte(text);
            }
        }
        ++at_;
        return text;
    }

    void read_escape(std::string& text) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const int escape = peek();
        ++at_;
        if (escape == 'u') {
            uint32_t code = read_hex();
            if (code >= 0xD800 && code < 0xDC00) {
                if (text_.substr(at_, 2) != "\\u") refuse("half a character");
                at_ += 2;
                const uint32_t low = read_hex();
                if (low < 0xDC00 || low > 0xDFFF) refuse("half a character");
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            } else if (code >= 0xDC00 && code <= 0xDFFF) {
                refuse("half a character");
            }
            return append(text, code);
        }
        for (int i = 0; from[i]; ++i) {
            if (from[i] == escape) return text.push_back(to[i]);
        }
        refuse("an unknown escape");
    }

    uint32_t read_hex() {
        uint32_t code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const int digit = peek();
            code <<= 4;
            if (digit >= '0' && digit <= '9') {
                code += static_cast<uint32_t>(digit - '0');
            } else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f') {
                code += static_cast<uint32_t>((digit | 0x20) - 'a' + 10);
            } else {
                refuse("no hexadecimal digit");
            }
        }
        return code;
    }

    // A character of several bytes, in its one right form.
    void read_multibyte(std::string& text) {
        const int first = peek();
        const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
        if (first < 0xC2 || first > 0xF4) refuse("a byte that is no UTF-8");
        uint32_t code = static_cast<uint32_t>(first & (0x3F >> more));
        ++at_;
        for (int i = 0; i < more; ++i, ++at_) {
            if (peek() < 0x80 || peek() > 0xBF) refuse("a byte that is no UTF-8");
            code = code << 6 | static_cast<uint32_t>(peek() & 0x3F);
        }
        const uint32_t least = more == 3 ? 0x10000 : more == 2 ? 0x800 : 0x80;
        if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
            refuse("a character that is none");
        append(text, code);
    }

    static void append(std::string& text, uint32_t code) {
        const auto put = [&](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
        if (code < 0x80) return put(code);
        if (code < 0x800) {
            put(0xC0 | code >> 6);
        } else if (code < 0x10000) {
            put(0xE0 | code >> 12);
            put(0x80 | (code >> 6 & 0x3F));
        } else {
            put(0xF0 | code >> 18);
            put(0x80 | (code >> 12 & 0x3F));
            put(0x80 | (code >> 6 & 0x3F));
        }
        put(0x80 | (code & 0x3F));
    }

    const std::string_view text_;
    size_t at_ = 0;
    int64_t values_ = 0;
};

}  // namespace

Json Json::parse(std::string_view text) {
    return Reader(text).whole();
}

const Json* Json::find(std::string_view name) const {
    const auto place =
        std::lower_bound(object.begin(), object.end(), name,
                         [](const Member& member, std::string_view wanted) { return member.name < wanted; });
    return place != object.end() && place->name == name ? &place->value : nullptr;
}

}  // namespace genfuse
