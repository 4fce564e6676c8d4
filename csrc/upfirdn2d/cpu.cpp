// The kernel of upfirdn2d; compiled once for each instruction set.
#include "common/arena.h"
#include "common/half.h"
#include "upfirdn2d/job.h"
#include "upfirdn2d/memory.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using Args = genfuse_upfirdn2d_args;

const float* factors(const UpfirdnJob& job, float) {
    return job.filter.data();
}
const double* factors(const UpfirdnJob& job, double) {
    return job.args.filter;
}

// `n` vectors of a run, each the sum over rows and taps.
template <int n, class T>
GENFUSE_INLINE void sum_vectors(const UpfirdnSource<T>* rows, int64_t count, const UpfirdnTap* first,
                                const UpfirdnTap* last, T* to) {
    using V = vec<T>;
    V sum[n] = {};
    for (int64_t row = 0; row < count; ++row) {
        for (const UpfirdnTap* tap = first; tap != last; ++tap) {
            const V factor = broadcast<V>(rows[row].factors[tap->column]);
            const T* const from = rows[row].data + tap->offset;
            for (int i = 0; i < n; ++i) sum[i] = fma(factor, load<V>(from + i * kLanes<T>), sum[i]);
        }
    }
    for (int i = 0; i < n; ++i) store(to + i * kLanes<T>, sum[i]);
}

// Whole vectors: what is behind the last output is room.
template <class T>
void sum_run(UpfirdnSource<T>* rows, int64_t count, const UpfirdnTap* first, const UpfirdnTap* last,
             int64_t length, T* to) {
    constexpr int64_t lanes = kLanes<T>, several = 4;
    int64_t i = 0;
    const auto advance = [&](int64_t step) {
        for (int64_t row = 0; row < count; ++row) rows[row].data += step;
        i += step;
    };
    while (i + several * lanes <= length) {
        sum_vectors<several>(rows, count, first, last, to + i);
        advance(several * lanes);
    }
    while (i < length) {
        sum_vectors<1>(rows, count, first, last, to + i);
        advance(lanes);
    }
    for (int64_t row = 0; row < count; ++row) rows[row].data -= i;
}

template <class T>
void sum_runs(const UpfirdnJob& job, UpfirdnSource<T>* rows, int64_t count, int64_t length, T* to) {
    const UpfirdnTap* const taps = job.taps.data();
    for (size_t r = 0; r < job.runs.size(); ++r) {
        const UpfirdnRun& run = job.runs[r];
        sum_run(rows, count, taps + run.first, taps + run.last, length,
                to + static_cast<int64_t>(r) * job.run_pitch);
    }
}

// One plane, or one sample's block of channels.
template <class Stored>
struct Part {
    const Stored* x;
    Stored* out;
    int64_t channels;  // of a run, where channels are adjacent
};

template <class Stored>
Part<Stored> part_of(const UpfirdnJob& job, int64_t number) {
    const Args& a = job.args;
    const Stored* const x = static_cast<const Stored*>(a.x);
    Stored* const out = static_cast<Stored*>(a.out);
    if (!a.channels_last) {
        return {x + number * a.height * a.width, out + number * a.out_height * a.out_width, 1};
    }
    const int64_t sample = number / job.channel_blocks,
                  channel = number % job.channel_blocks * job.channel_block;
    const int64_t left = a.channels - channel;
    return {x + sample * a.height * a.width * a.channels + channel,
            out + sample * a.out_height * a.out_width * a.channels + channel,
            left < job.channel_block ? left : job.channel_block};
}

template <class Stored, class T>
void keep_row(const UpfirdnJob& job, const Part<Stored>& part, int64_t y, T* spare, T* to) {
    const Args& a = job.args;
    if (a.channels_last) {
        const Stored* const from = part.x + y * a.width * a.channels;
        for (int64_t i = 0; i < a.width; ++i)
            widen_run(from + i * a.channels, part.channels, to + i * job.run_pitch);
        return;
    }
    const Stored* const from = part.x + y * a.width;
    const bool apart = job.phases > 1;
    if (apart) widen_run(from, a.width, spare);
    for (int64_t phase = 0; phase < job.phases; ++phase) {
        T* const row = to + phase * job.phase_pitch;
        T* const there = row + job.margin;
        const int64_t count = phase < a.width ? (a.width - phase - 1) / job.phases + 1 : 0;
        if (apart) {
            for (int64_t i = 0; i < count; ++i) there[i] = spare[phase + i * job.phases];
        } else {
            widen_run(from, a.width, there);
        }
        for (T* zero = row; zero != there; ++zero) *zero = 0;
        for (T* zero = there + count; zero < row + job.phase_pitch; ++zero) *zero = 0;
    }
}

template <class Stored, class T>
void write_row(const UpfirdnJob& job, const Part<Stored>& part, int64_t y, const T* from, T* spare) {
    const Args& a = job.args;
    const int64_t runs = static_cast<int64_t>(job.runs.size());
    if (a.channels_last) {
        Stored* const to = part.out + y * a.out_width * a.channels;
        for (int64_t i = 0; i < runs; ++i)
            narrow_run(from + i * job.run_pitch, part.channels, to + i * a.channels);
        return;
    }
    if (runs > 1) {
        for (int64_t run = 0; run < runs; ++run) {
            for (int64_t i = run, j = 0; i < a.out_width; i += runs, ++j)
                spare[i] = from[run * job.run_pitch + j];
        }
    }
    narrow_run(runs > 1 ? spare : from, a.out_width, part.out + y * a.out_width);
}

// Rows of the input that outputs [begin, end) read: [first, last).
struct Rows {
    int64_t first, last;
};

Rows rows_of(const Args& a, int64_t begin, int64_t end) {
    const int64_t low = begin * a.down_y - a.pad_y;
    const int64_t high = (end - 1) * a.down_y - a.pad_y + a.filter_height - 1;
    const int64_t first = low <= 0 ? 0 : (low - 1) / a.up_y + 1;
    const int64_t last = high < 0 ? 0 : high / a.up_y + 1;
    return {first, last < a.height ? last : a.height};
}

template <class Stored>
void filter_unit(const UpfirdnJob& job, int64_t unit, int slot) {
    using T = typename Arithmetic<Stored>::type;
    const Args& a = job.args;
    const Part<Stored> part = part_of<Stored>(job, unit / job.row_blocks);
    const int64_t begin = unit % job.row_blocks * job.block_rows;
    const int64_t end = begin + job.block_rows < a.out_height ? begin + job.block_rows : a.out_height;
    Carver carver(job.memory + slot * job.memory_a_slot);
    const UpfirdnMemory<T> memory = upfirdn_memory<T>(job, carver);
    const Rows read = rows_of(a, begin, end);
    const T* const factor = factors(job, T{});
    const T* const factor_x = factor + (a.separable ? a.filter_height : 0);
    const int64_t length = a.channels_last ? part.channels : job.run_length;
    for (int64_t y = read.first; y < read.last; ++y) {
        const int64_t place = a.separable ? 0 : y - read.first;
        keep_row(job, part, y, memory.spare, memory.rows + place * job.row_length);
        if (!a.separable) continue;
        memory.sources[0] = {memory.rows, factor_x};
        sum_runs(job, memory.sources, 1, length, memory.filtered + (y - read.first) * job.out_row_length);
    }
    const T* const kept = a.separable ? memory.filtered : memory.rows;
    const int64_t pitch = a.separable ? job.out_row_length : job.row_length;
    const int64_t step = a.separable ? 1 : a.filter_width;
    const UpfirdnTap itself{0, 0};
    for (int64_t y = begin; y < end; ++y) {
        int64_t count = 0;
        const int64_t top = y * a.down_y - a.pad_y;
        for (int64_t ky = (a.up_y - top % a.up_y) % a.up_y; ky < a.filter_height; ky += a.up_y) {
            const int64_t row = (top + ky) / a.up_y;
            if (row < read.first || row >= read.last) continue;
            memory.sources[count++] = {kept + (row - read.first) * pitch, factor + ky * step};
        }
        if (a.separable) {
            sum_run(memory.sources, count, &itself, &itself + 1, job.out_row_length, memory.out);
        } else {
            sum_runs(job, memory.sources, count, length, memory.out);
        }
        write_row(job, part, y, memory.out, memory.spare);
    }
}

}  // namespace

void upfirdn2d_unit(const UpfirdnJob& job, int64_t unit, int slot) {
    if (job.args.dtype == GENFUSE_FLOAT64) return filter_unit<double>(job, unit, slot);
    with_stored(job.args.dtype, [&](auto stored) { filter_unit<decltype(stored)>(job, unit, slot); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
