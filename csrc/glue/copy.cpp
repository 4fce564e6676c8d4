// Copies from one layout to another, and of rows by number.
#include <cstring>

#include "common/dispatch.h"
#include "glue/walk.h"

namespace genfuse {
namespace {

template <class Item>
void copy_row(char* to, int64_t to_step, const char* from, int64_t from_step, int64_t count) {
    for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * to_step, from + i * from_step, sizeof(Item));
}

void copy_rows(const genfuse_copy_args& args, int64_t begin, int64_t end) {
    const int32_t last = args.axes - 1;
    const int64_t count = args.size[last], item = args.item;
    const int64_t to_step = args.to.stride[last], from_step = args.source.stride[last];
    Walk(args.axes, args.size, 1, {&args.to, &args.source}).each(begin, end, [&](const int64_t* offset) {
        char* const to = static_cast<char*>(args.to.data) + offset[0];
        const char* const from = static_cast<const char*>(args.source.data) + offset[1];
        if (to_step == item && from_step == item) {
            std::memcpy(to, from, static_cast<size_t>(count * item));
        } else if (item == 2) {
            copy_row<uint16_t>(to, to_step, from, from_step, count);
        } else if (item == 4) {
            copy_row<uint32_t>(to, to_step, from, from_step, count);
        } else {
            for (int64_t i = 0; i < count; ++i)
                std::memcpy(to + i * to_step, from + i * from_step, static_cast<size_t>(item));
        }
    });
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_copy(const genfuse_copy_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_status status = check_walk(args->axes, 1, args->size, message);
    if (status != GENFUSE_OK) return status;
    if (args->item < 1) return invalid(message, "an element has no bytes, expected 1 or more%s", "");
    const int64_t count = elements_of(args->axes, args->size);
    if (count == 0) return GENFUSE_OK;
    if (!args->to.data || !args->source.data) return invalid(message, "an operand is absent%s", "");
    const Walk walk(args->axes, args->size, 1, {});
    run_units(copy_rows, *args, walk.rows(), count, args->threads);
    return GENFUSE_OK;
}

genfuse_status genfuse_gather(const genfuse_gather_args* args, genfuse_message* message) {
    using namespace genfuse;
    if (args->rows < 0 || args->row_bytes < 0 || args->table_rows < 0)
        return invalid(message, "a size is negative, expected 0 or more%s", "");
    for (int64_t row = 0; row < args->rows; ++row) {
        if (args->index[row] < 0 || args->index[row] >= args->table_rows) {
            return invalid(message, "index %lld is %lld, expected 0 to %lld", static_cast<long long>(row),
                           static_cast<long long>(args->index[row]),
                           static_cast<long long>(args->table_rows - 1));
        }
    }
    const size_t bytes = static_cast<size_t>(args->row_bytes);
    for (int64_t row = 0; row < args->rows; ++row) {
        std::memcpy(static_cast<char*>(args->to) + row * args->row_bytes,
                    static_cast<const char*>(args->table) + args->index[row] * args->row_bytes, bytes);
    }
    return GENFUSE_OK;
}
