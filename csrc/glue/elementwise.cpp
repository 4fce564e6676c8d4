// Functions of each element, and of windows of them.
#include <cmath>
#include <cstring>

#include "common/dispatch.h"
#include "glue/walk.h"

// The kernels' own conversions, for the few numbers that are converted here: no instruction set is asked for.
#define GENFUSE_ISA scalar
#define GENFUSE_VECTOR_BYTES 16
#include "common/half.h"

namespace genfuse {
namespace {

template <class T>
T at(const char* place) {
    T value;
    std::memcpy(&value, place, sizeof value);
    return value;
}

template <class T>
void put(char* place, T value) {
    std::memcpy(place, &value, sizeof value);
}

struct Row {
    char* to;
    const char *a, *b;  // b NULL: `number`
    float number;
    int64_t count, to_step, a_step, b_step;
};

// to = function(a, b); dense rows in a loop that the compiler makes vectors of.
template <class Function>
void combine(const Row& row, Function function) {
    constexpr int64_t item = sizeof(float);
    if (row.b && row.to_step == item && row.a_step == item && row.b_step == item) {
        for (int64_t i = 0; i < row.count; ++i)
            put(row.to + i * item, function(at<float>(row.a + i * item), at<float>(row.b + i * item)));
        return;
    }
    for (int64_t i = 0; i < row.count; ++i) {
        const float b = row.b ? at<float>(row.b + i * row.b_step) : row.number;
        put(row.to + i * row.to_step, function(at<float>(row.a + i * row.a_step), b));
    }
}

// What a function gives in float64, rounded once.
template <class Function>
void rounded(const Row& row, Function function) {
    combine(row, [&](float a, float) { return static_cast<float>(function(static_cast<double>(a))); });
}

void compute(int32_t function, const Row& row) {
    switch (function) {
        case GENFUSE_MULTIPLY:
            return combine(row, [](float a, float b) { return a * b; });
        case GENFUSE_ADD:
            return combine(row, [](float a, float b) { return a + b; });
        case GENFUSE_SUBTRACT:
            return combine(row, [](float a, float b) { return a - b; });
        case GENFUSE_DIVIDE:
            return combine(row, [](float a, float b) { return a / b; });
        case GENFUSE_SINE:
            return rounded(row, [](double a) { return std::sin(a); });
        case GENFUSE_COSINE:
            return rounded(row, [](double a) { return std::cos(a); });
        case GENFUSE_FROM_INT64:
            for (int64_t i = 0; i < row.count; ++i)
                put(row.to + i * row.to_step, static_cast<float>(at<int64_t>(row.a + i * row.a_step)));
            return;
        default:
            for (int64_t i = 0; i < row.count; ++i)
                put(row.to + i * row.to_step,
                    at<uint64_t>(row.a + i * row.a_step) * at<uint64_t>(row.b + i * row.b_step));
    }
}

void elementwise_rows(const genfuse_elementwise_args& args, int64_t begin, int64_t end) {
    const int32_t last = args.axes - 1;
    const Walk walk(args.axes, args.size, 1, {&args.to, &args.a, &args.b});
    walk.each(begin, end, [&](const int64_t* offset) {
        const char* const b = static_cast<const char*>(args.b.data);
        compute(args.function,
                {static_cast<char*>(args.to.data) + offset[0],
                 static_cast<const char*>(args.a.data) + offset[1], b ? b + offset[2] : nullptr, args.number,
                 args.size[last], args.to.stride[last], args.a.stride[last], args.b.stride[last]});
    });
}

float mean_of(const char* from, const genfuse_window_args& args) {
    const int32_t across = args.axes - 1, down = args.axes - 2;
    float sum = 0;
    for (int64_t y = 0; y < args.size[down]; ++y) {
        for (int64_t x = 0; x < args.size[across]; ++x) {
            sum += at<float>(from + y * args.source.stride[down] + x * args.source.stride[across]);
        }
    }
    return sum / static_cast<float>(args.size[down] * args.size[across]);
}

void window_rows(const genfuse_window_args& args, int64_t begin, int64_t end) {
    const int32_t last = args.axes - 3;
    Walk(args.axes, args.size, 3, {&args.to, &args.source}).each(begin, end, [&](const int64_t* offset) {
        for (int64_t i = 0; i < args.size[last]; ++i) {
            const char* const from =
                static_cast<const char*>(args.source.data) + offset[1] + i * args.source.stride[last];
            put(static_cast<char*>(args.to.data) + offset[0] + i * args.to.stride[last], mean_of(from, args));
        }
    });
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_elementwise(const genfuse_elementwise_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_status status = check_walk(args->axes, 1, args->size, message);
    if (status != GENFUSE_OK) return status;
    if (args->function < 0 || args->function >= GENFUSE_ELEMENTWISE_FUNCTIONS)
        return invalid(message, "function has code %d, which is none", args->function);
    if (args->function == GENFUSE_MULTIPLY_INT64 && !args->b.data)
        return invalid(message, "b is absent, expected integers%s", "");
    const int64_t count = elements_of(args->axes, args->size);
    if (count == 0) return GENFUSE_OK;
    if (!args->to.data || !args->a.data) return invalid(message, "an operand is absent%s", "");
    run_units(elementwise_rows, *args, Walk(args->axes, args->size, 1, {}).rows(), count, args->threads);
    return GENFUSE_OK;
}

genfuse_status genfuse_window(const genfuse_window_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_status status = check_walk(args->axes, 3, args->size, message);
    if (status != GENFUSE_OK) return status;
    if (args->size[args->axes - 1] < 1 || args->size[args->axes - 2] < 1)
        return invalid(message, "a window has no elements, expected 1 or more%s", "");
    const int64_t count = elements_of(args->axes, args->size);
    if (count == 0) return GENFUSE_OK;
    if (!args->to.data || !args->source.data) return invalid(message, "an operand is absent%s", "");
    run_units(window_rows, *args, Walk(args->axes, args->size, 3, {}).rows(), count, args->threads);
    return GENFUSE_OK;
}

genfuse_status genfuse_widen(const genfuse_widen_args* args, genfuse_message* message) {
    using namespace genfuse;
    if (args->dtype != GENFUSE_FLOAT16 && args->dtype != GENFUSE_BFLOAT16)
        return invalid(message, "dtype is code %d, expected bfloat16 or float16", args->dtype);
    if (args->count < 0) return invalid(message, "count is negative, expected 0 or more%s", "");
    constexpr int64_t piece = 64;  // whole vectors are written
    scalar::with_stored(args->dtype, [args](auto stored) {
        float wide[piece];
        for (int64_t first = 0; first < args->count; first += piece) {
            const int64_t count = args->count - first < piece ? args->count - first : piece;
            scalar::widen_run(static_cast<const decltype(stored)*>(args->source) + first, count, wide);
            std::memcpy(args->to + first, wide, static_cast<size_t>(count) * sizeof(float));
        }
    });
    return GENFUSE_OK;
}
