// upfirdn2d's C interface: checks a call, lays its runs out and shares its rows among the threads.
#include <algorithm>
#include <new>
#include <numeric>

#include "common/message.h"
#include "upfirdn2d/memory.h"

namespace genfuse {
namespace {

using Args = genfuse_upfirdn2d_args;

// Channels of a block where they are adjacent.
constexpr int64_t kChannelBlock = 64;

// Elements of the rows that a unit keeps, about: what a core's own cache holds.
constexpr int64_t kKept = 32768;

int64_t rounded(int64_t count) {
    return (count + kUpfirdnSlack - 1) / kUpfirdnSlack * kUpfirdnSlack;
}

int64_t floor_divide(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

void lay_planar(UpfirdnJob& job) {
    const Args& a = job.args;
    const int64_t common = std::gcd(a.up_x, a.down_x), runs = a.up_x / common;
    job.phases = a.down_x / common;
    job.run_length = (a.out_width - 1) / runs + 1;
    job.run_pitch = rounded(job.run_length);
    const int64_t there = (a.width - 1) / job.phases + 1;
    int64_t low = 0, high = there;
    struct Place {
        int64_t phase, base;
    };
    std::vector<Place> places;
    for (int64_t run = 0; run < runs; ++run) {
        const int64_t first = static_cast<int64_t>(job.taps.size());
        for (int64_t kx = 0; kx < a.filter_width; ++kx) {
            const int64_t at = run * a.down_x + kx - a.pad_x;
            if (at % a.up_x) continue;
            const int64_t base = floor_divide(at / a.up_x, job.phases);
            if (base >= there || base + job.run_length <= 0) continue;  // beyond the picture for all outputs
            places.push_back({at / a.up_x - base * job.phases, base});
            job.taps.push_back({0, kx});
            low = std::min(low, base);
            high = std::max(high, base + job.run_pitch);
        }
        job.runs.push_back({first, static_cast<int64_t>(job.taps.size())});
    }
    job.margin = -low;
    job.phase_pitch = rounded(job.margin + high) + kUpfirdnSlack;
    for (size_t i = 0; i < places.size(); ++i) {
        job.taps[i].offset = places[i].phase * job.phase_pitch + job.margin + places[i].base;
    }
    job.row_length = job.phases * job.phase_pitch;
    job.channel_block = job.channel_blocks = 1;
}

void lay_channels_last(UpfirdnJob& job) {
    const Args& a = job.args;
    job.channel_block = std::min(a.channels, kChannelBlock);
    job.channel_blocks = (a.channels - 1) / job.channel_block + 1;
    job.phases = 1;
    job.run_length = job.channel_block;
    job.run_pitch = rounded(job.run_length);
    for (int64_t x = 0; x < a.out_width; ++x) {
        const int64_t first = static_cast<int64_t>(job.taps.size());
        for (int64_t kx = 0; kx < a.filter_width; ++kx) {
            const int64_t at = x * a.down_x + kx - a.pad_x;
            if (at < 0 || at % a.up_x || at / a.up_x >= a.width) continue;
            job.taps.push_back({at / a.up_x * job.run_pitch, kx});
        }
        job.runs.push_back({first, static_cast<int64_t>(job.taps.size())});
    }
    job.row_length = a.width * job.run_pitch;
}

void run(const Args& args) {
    UpfirdnJob job{};
    job.args = args;
    const int64_t factors =
        args.separable ? args.filter_height + args.filter_width : args.filter_height * args.filter_width;
    job.filter.assign(args.filter, args.filter + factors);
    args.channels_last ? lay_channels_last(job) : lay_planar(job);
    job.out_row_length = static_cast<int64_t>(job.runs.size()) * job.run_pitch;
    const int64_t kept = std::max<int64_t>(args.separable ? job.out_row_length : job.row_length, 1);
    const int64_t wanted = std::max<int64_t>(4, kKept / kept * args.up_y / args.down_y);
    job.block_rows = std::min(args.out_height, wanted);
    job.row_blocks = (args.out_height - 1) / job.block_rows + 1;
    job.input_rows =
        std::min(args.height, ((job.block_rows - 1) * args.down_y + args.filter_height - 1) / args.up_y + 2);
    const int64_t parts = args.batch * (args.channels_last ? job.channel_blocks : args.channels);
    const int64_t work = args.batch * args.channels * args.out_height * args.out_width;
    const int threads = work < kParallelWork ? 1 : std::max(1, args.threads);
    Carver sizes;
    if (args.dtype == GENFUSE_FLOAT64) {
        upfirdn_memory<double>(job, sizes);
    } else {
        upfirdn_memory<float>(job, sizes);
    }
    job.memory_a_slot = static_cast<int64_t>(sizes.used());
    job.memory = static_cast<char*>(thread_arena(sizes.used() * static_cast<size_t>(threads)));
    run_slots(GENFUSE_KERNEL(upfirdn2d_unit), job, parts * job.row_blocks, threads);
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_upfirdn2d(const genfuse_upfirdn2d_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_upfirdn2d_args& a = *args;
    if (a.dtype < GENFUSE_FLOAT32 || a.dtype > GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, float64, bfloat16 or float16", a.dtype);
    }
    if (a.batch < 0 || std::min({a.channels, a.height, a.width, a.out_height, a.out_width}) < 1) {
        return invalid(message, "x or out is an image without pixels, expected some%s", "");
    }
    if (std::min({a.filter_height, a.filter_width, a.up_x, a.up_y, a.down_x, a.down_y}) < 1) {
        return invalid(message, "filter, up or down is less than 1, expected 1 or more%s", "");
    }
    if (a.batch == 0) return GENFUSE_OK;
    if (!a.x || !a.out || !a.filter) {
        return invalid(message, "x, out or filter is absent, expected all%s", "");
    }
    try {
        run(a);
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in upfirdn2d");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
