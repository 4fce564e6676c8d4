// Copies, functions of each element, pooling and look-ups between the kernels.
#include "network/describe.h"

namespace genfuse {
namespace {

constexpr int64_t kMostItem = 16, kMostWindow = 4096;

// The last `inner` axes are of a window.
void sizes(Fields& fields, int32_t& axes, int64_t (&size)[GENFUSE_GLUE_AXES], int32_t inner = 0) {
    fields.number("axes", axes, inner + 1, GENFUSE_GLUE_AXES);
    for (int32_t axis = 0; axis < axes; ++axis) {
        fields.number(("size." + std::to_string(axis)).c_str(), size[axis], 1,
                      axis < axes - inner ? kMostSize : kMostWindow);
    }
}

// An operand of the first `axes` axes; what is written has memory for each element.
void strided(Fields& fields, const std::string& name, genfuse_strided& of, int32_t axes, const int64_t* size,
             int64_t item, Access access, bool optional = false) {
    int32_t present = of.data || !optional;
    if (optional) fields.number((name + ".present").c_str(), present, 0, 1);
    if (!present) return;
    __int128 count = 1;
    Reach reach = Reach(1).along(item, 1);
    for (int32_t axis = 0; axis < axes; ++axis) {
        fields.number((name + ".stride." + std::to_string(axis)).c_str(), of.stride[axis], 0, kMostStride);
        reach = reach.along(size[axis], of.stride[axis]);
        count *= count > kMostStride ? 1 : size[axis];  // more than any memory is enough
    }
    fields.elements(name.c_str(), count, item, reach, access);
    fields.visit(name.c_str(), of.data, reach, access, false);
}

}  // namespace

void describe(Fields& fields, genfuse_copy_args& args) {
    sizes(fields, args.axes, args.size);
    fields.number("item", args.item, 1, kMostItem);
    strided(fields, "source", args.source, args.axes, args.size, args.item, Access::reads);
    strided(fields, "to", args.to, args.axes, args.size, args.item, Access::writes);
}

void describe(Fields& fields, genfuse_elementwise_args& args) {
    sizes(fields, args.axes, args.size);
    fields.number("function", args.function, 0, GENFUSE_ELEMENTWISE_FUNCTIONS - 1);
    const bool wide = args.function == GENFUSE_MULTIPLY_INT64;
    const int64_t item = wide ? 8 : 4;
    strided(fields, "a", args.a, args.axes, args.size, args.function == GENFUSE_FROM_INT64 ? 8 : item,
            Access::reads);
    strided(fields, "b", args.b, args.axes, args.size, item, Access::reads, !wide);
    fields.real("number", args.number);
    strided(fields, "to", args.to, args.axes, args.size, item, Access::writes_in_place);
}

void describe(Fields& fields, genfuse_window_args& args) {
    sizes(fields, args.axes, args.size, 2);
    strided(fields, "source", args.source, args.axes, args.size, sizeof(float), Access::reads);
    strided(fields, "to", args.to, args.axes - 2, args.size, sizeof(float), Access::writes);
}

void describe(Fields& fields, genfuse_gather_args& args) {
    fields.number("rows", args.rows, 1, kMostSize);
    fields.number("row_bytes", args.row_bytes, 1, kMostSize);
    fields.number("table_rows", args.table_rows, 1, kMostSize);
    fields.reads("index", args.index, Reach::dense(sizeof(int64_t), args.rows));
    fields.reads("table", args.table, Reach::dense(1, args.table_rows * args.row_bytes));
    fields.writes("to", args.to, Reach::dense(1, args.rows * args.row_bytes));
}

void describe(Fields& fields, genfuse_widen_args& args) {
    fields.number("dtype", args.dtype, GENFUSE_BFLOAT16, GENFUSE_FLOAT16);
    fields.number("count", args.count, 1, kMostSize);
    fields.reads("source", args.source, Reach::dense(item_bytes(args.dtype), args.count));
    fields.writes("to", args.to, Reach::dense(sizeof(float), args.count));
}

}  // namespace genfuse
