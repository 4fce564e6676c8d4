// The kernel of bias_act and of its gradient; compiled once for each instruction set.
//
// A piece of a row passes through a few steps in the L1 cache, of which only the middle one knows the
// activation and only the outer ones the dtype: compiled once each, not for every pair.
#include "bias_act/elu.h"
#include "bias_act/job.h"
#include "common/half.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using Args = genfuse_bias_act_args;

constexpr int64_t kPiece = kBiasActPiece;

f32 load_some(const float* from, int64_t count) {
    return count >= kLanes<float> ? load<f32>(from) : load_first(from, static_cast<int>(count));
}

// With room behind it: the last vector of any part is written whole.
struct Row {
    float data[kPiece + kLanes<float>];

    void fill(int64_t at, float value, int64_t count) {
        for (int64_t i = 0; i < count; i += kLanes<float>) store(data + at + i, broadcast<f32>(value));
    }
    // Plus a number.
    void copy(int64_t at, const float* from, int64_t count, float added) {
        for (int64_t i = 0; i < count; i += kLanes<float>) {
            store(data + at + i, load_some(from + i, count - i) + added);
        }
    }
};

// What a piece is worked on with.
struct Work {
    Row factor, offset;       // of each element
    Row values, slopes;       // what is activated; the derivative there
    Row read;                 // x, where the scale's gradient is asked for
    Row bias_sum, scale_sum;  // where channels are adjacent
};

void activate_values(const Args& a, Work& work, int64_t count) {
    const f32 slope = broadcast<f32>(a.slope);
    with_bias_activation(a.activation, [&](auto kind) {
        float* const values = work.values.data;
        for (int64_t i = 0; i < count; i += kLanes<float>) {
            store(values + i, bias_activated<decltype(kind)::value>(load<f32>(values + i), slope));
        }
    });
}

void differentiate_values(const Args& a, Work& work, int64_t count) {
    const f32 slope = broadcast<f32>(a.slope);
    with_bias_activation(a.activation, [&](auto kind) {
        const float* const values = work.values.data;
        for (int64_t i = 0; i < count; i += kLanes<float>) {
            const f32 at = load<f32>(values + i);
            store(work.slopes.data + i, bias_activation_gradient<decltype(kind)::value>(at, slope));
        }
    });
}

// x·scale + noise + bias.
template <class Stored>
void read_values(const Args& a, const Stored* x, int64_t count, float noise, Work& work) {
    const f32 added = broadcast<f32>(noise);
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        const f32 read = widen_part(x + i, count - i), offset = load<f32>(work.offset.data + i) + added;
        if (a.scale_sums) store(work.read.data + i, read);
        store(work.values.data + i,
              a.scale ? fma(read, load<f32>(work.factor.data + i), offset) : read + offset);
    }
}

template <class Stored>
void write_result(const Args& a, const Stored* x, Stored* out, int64_t count, float noise, Work& work) {
    read_values(a, x, count, noise, work);
    activate_values(a, work, count);
    const f32 gain = broadcast<f32>(a.gain), bound = broadcast<f32>(a.clamp);
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        const f32 value = clamp(load<f32>(work.values.data + i) * gain, -bound, bound);
        narrow_part(out + i, value, count - i);
    }
}

// The derivative at x, or at what gave the result x, times the gradient: work.slopes.
template <class Stored>
void differentiate(const Args& a, const Stored* x, const Stored* gradient, int64_t count, float noise,
                   Work& work) {
    if (a.of_result) {  // of which the sign decides
        const f32 sign = broadcast<f32>(a.gain < 0 ? -1.0f : 1.0f);
        for (int64_t i = 0; i < count; i += kLanes<float>) {
            store(work.values.data + i, widen_part(x + i, count - i) * sign);
        }
    } else {
        read_values(a, x, count, noise, work);
    }
    differentiate_values(a, work, count);
    const bool is_bounded = a.clamp < __builtin_inff();
    if (is_bounded && !a.of_result) activate_values(a, work, count);
    const f32 gain = broadcast<f32>(a.gain), bound = broadcast<f32>(a.clamp);
    const f32 of_value = a.of_result ? broadcast<f32>(1.0f) : gain;
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        const f32 given = widen_part(gradient + i, count - i);
        const f32 found = given * load<f32>(work.slopes.data + i) * gain;
        const f32 value = magnitude(load<f32>(work.values.data + i) * of_value);
        store(work.slopes.data + i, is_bounded ? (value >= bound ? f32{} : found) : found);
    }
}

template <class Stored>
void write_gradient(const Args& a, Stored* out, int64_t count, Work& work) {
    const bool is_scaled = a.scale && !a.before_scale;
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        const f32 found = load<f32>(work.slopes.data + i);
        narrow_part(out + i, is_scaled ? found * load<f32>(work.factor.data + i) : found, count - i);
    }
}

// Of `count` values, alone or times others.
double sum(const float* values, const float* others, int64_t count) {
    f32 total = {};
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        const f32 term = load_some(values + i, count - i);
        total += others ? term * load_some(others + i, count - i) : term;
    }
    double found = 0;
    for (int lane = 0; lane < kLanes<float>; ++lane) found += static_cast<double>(total[lane]);
    return found;
}

// A channel of a sample, or as many small ones as a piece holds.
template <class Stored>
void run_planes(const Args& a, int64_t unit, Work& work) {
    const int64_t each = bias_act_planes(a.pixels), all = a.samples * a.channels;
    const int64_t first = unit * each, planes = first + each < all ? each : all - first;
    for (int64_t begin = 0; begin < a.pixels; begin += kPiece) {
        const int64_t span = a.pixels - begin < kPiece ? a.pixels - begin : kPiece;
        for (int64_t i = 0; i < planes; ++i) {
            const int64_t sample = (first + i) / a.channels;
            const float bias = a.bias ? a.bias[(first + i) % a.channels] : 0;
            if (a.scale) work.factor.fill(i * span, a.scale[first + i], span);
            if (a.noise) {
                work.offset.copy(i * span, a.noise + sample * a.noise_stride + begin, span, bias);
            } else {
                work.offset.fill(i * span, bias, span);
            }
        }
        const int64_t start = first * a.pixels + begin, count = planes * span;
        const Stored* const x = static_cast<const Stored*>(a.x) + start;
        Stored* const out = static_cast<Stored*>(a.out) + start;
        if (!a.gradient) {
            write_result(a, x, out, count, 0, work);
            continue;
        }
        differentiate(a, x, static_cast<const Stored*>(a.gradient) + start, count, 0, work);
        for (int64_t i = 0; i < planes; ++i) {
            const float* const slopes = work.slopes.data + i * span;
            double* const of_bias = a.bias_sums ? a.bias_sums + first + i : nullptr;
            double* const of_scale = a.scale_sums ? a.scale_sums + first + i : nullptr;
            if (of_bias) *of_bias = (begin ? *of_bias : 0) + sum(slopes, nullptr, span);
            if (of_scale) *of_scale = (begin ? *of_scale : 0) + sum(slopes, work.read.data + i * span, span);
        }
        write_gradient(a, out, count, work);
    }
}

void add_sums(const Args& a, int64_t count, Work& work) {
    for (int64_t i = 0; i < count; i += kLanes<float>) {
        const f32 term = load<f32>(work.slopes.data + i);
        if (a.bias_sums) store(work.bias_sum.data + i, load<f32>(work.bias_sum.data + i) + term);
        if (!a.scale_sums) continue;
        const f32 read = load<f32>(work.read.data + i), so_far = load<f32>(work.scale_sum.data + i);
        store(work.scale_sum.data + i, fma(term, read, so_far));
    }
}

// Some pixels of a sample, whose channels are adjacent.
template <class Stored>
void run_rows(const Args& a, int64_t block, Work& work) {
    const int64_t blocks = genfuse_bias_act_blocks(a.pixels), sample = block / blocks;
    const int64_t begin = block % blocks * kBiasActRows;
    const int64_t end = begin + kBiasActRows < a.pixels ? begin + kBiasActRows : a.pixels;
    for (int64_t channel = 0; channel < a.channels; channel += kPiece) {
        const int64_t count = a.channels - channel < kPiece ? a.channels - channel : kPiece;
        if (a.scale) work.factor.copy(0, a.scale + sample * a.channels + channel, count, 0);
        work.offset.fill(0, 0, count);
        if (a.bias) work.offset.copy(0, a.bias + channel, count, 0);
        work.bias_sum.fill(0, 0, count);
        work.scale_sum.fill(0, 0, count);
        for (int64_t pixel = begin; pixel < end; ++pixel) {
            const int64_t first = (sample * a.pixels + pixel) * a.channels + channel;
            const float noise = a.noise ? a.noise[sample * a.noise_stride + pixel] : 0;
            const Stored* const x = static_cast<const Stored*>(a.x) + first;
            Stored* const out = static_cast<Stored*>(a.out) + first;
            if (!a.gradient) {
                write_result(a, x, out, count, noise, work);
                continue;
            }
            differentiate(a, x, static_cast<const Stored*>(a.gradient) + first, count, noise, work);
            if (a.bias_sums || a.scale_sums) add_sums(a, count, work);
            write_gradient(a, out, count, work);
        }
        for (int64_t i = 0; i < count; ++i) {
            if (a.bias_sums) a.bias_sums[block * a.channels + channel + i] = work.bias_sum.data[i];
            if (a.scale_sums) a.scale_sums[block * a.channels + channel + i] = work.scale_sum.data[i];
        }
    }
}

}  // namespace

void bias_act_units(const Args& args, int64_t begin, int64_t end) {
    Work work;
    with_stored(args.dtype, [&](auto stored) {
        using Stored = decltype(stored);
        for (int64_t unit = begin; unit < end; ++unit) {
            args.channels_last ? run_rows<Stored>(args, unit, work) : run_planes<Stored>(args, unit, work);
        }
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
