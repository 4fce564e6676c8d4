// conv_norm_act from its arguments to its kernels: checks, statistics, blocking, threads.
#include <algorithm>
#include <new>

#include "common/dispatch.h"
#include "common/divide.h"
#include "common/message.h"
#include "conv_norm_act/batched.h"
#include "conv_norm_act/check.h"
#include "conv_norm_act/depthwise.h"
#include "conv_norm_act/direct.h"
#include "conv_norm_act/identity.h"
#include "conv_norm_act/matrix.h"
#include "conv_norm_act/pack_job.h"
#include "conv_norm_act/planar.h"
#include "conv_norm_act/prologue.h"
#include "conv_norm_act/statistics.h"
#include "conv_norm_act/winograd.h"

namespace genfuse {
namespace {

using Args = genfuse_conv_norm_act_args;

// How a call is cut up. Nothing here changes a bit of the result: every sum runs in the same order however
// rows and channels are dealt out.
struct Blocking {
    int64_t rows, rows_a_unit, units, slice = 0, part = 0, samples_a_unit = 1;
    bool shared = false;  // Winograd: all threads transform some rows' input, then all multiply it
    int64_t rows_shared = 0;
    bool packs = false;  // Winograd, of weights that are not packed: each unit packs a part's
};

constexpr int64_t kInputBytes = 640 << 10;  // of a unit's transformed input that stays in the L2 cache
constexpr int64_t kLeastTiles = 16,
                  kMostTiles = 32;  // of a unit, whatever its bytes: weights are read seldom
constexpr int64_t kWeightBytes =
    12 << 20;  // of packed weights that a cache shared by all threads is trusted to hold
// Of weights that are read from it once a unit all the same, where with the whole transformed input, shared,
// they would be more than it holds.
constexpr int64_t kMostWeightBytes = 16 << 20, kCacheBytes = 24 << 20;
constexpr int64_t kFewBytes = 16 << 20;     // of packed weights that stay near while they are packed and read
constexpr int64_t kNearBytes = 4 << 20;     // of packed weights that a thread's own caches do not hold
constexpr int64_t kSharedBytes = 16 << 20;  // of transformed input that threads work on together
constexpr int64_t kPixelsAUnit = 96;        // whole groups of 6 or of 2 rows of the products
constexpr int64_t kShortestRow = 48, kLikedRow = 72, kLongestRow = 97;  // pixels of a 1x1 convolution's
constexpr int64_t kPixelsWithout = 1024;                                // of a unit without a convolution
// Of weights that stay in the cache while pixels stream past; of a single tap's, where the sums of more
// slices would cost more than the cache saves.
constexpr int64_t kPanelBytes = 32 << 10, kTapBytes = 64 << 10;
constexpr int64_t kSumBlocks = 16;
constexpr int64_t kSamplesAUnit = 48;        // of one pixel each: rows of the products, a multiple of 6
constexpr int64_t kStagedBytes = 512 << 10;  // of rows that stay in the L2 cache
constexpr int64_t kMatrixBytes = 1 << 20;    // of the larger L2 cache of processors with a matrix unit
constexpr int64_t kFewestPixels = 256;       // of its units, which read all weights

Blocking winograd_blocking(const Args& args, const Geometry& geometry) {
    const int64_t wide = winograd::tiles(geometry, 1, args.conv.tile);
    const int64_t depth = winograd::shares(geometry) * steps_of(args.conv, padded(args.conv.in_channels));
    Blocking blocking;
    blocking.rows = args.batch * winograd::tiles(geometry, 0, args.conv.tile);
    const int64_t tile_bytes = winograd::points_of(args.conv.tile) * depth * 4;
    const int64_t tiles = std::clamp(kInputBytes / tile_bytes, kLeastTiles, kMostTiles);
    // As many units in every round as there are threads, of equal size.
    const int64_t most = std::max<int64_t>(1, tiles / wide);
    blocking.rows_a_unit =
        ceil_divide(blocking.rows, args.threads * ceil_divide(blocking.rows, args.threads * most));
    blocking.units = ceil_divide(blocking.rows, blocking.rows_a_unit);
    // Where there are too few rows for that, the last round leaves threads idle; and where the weights are
    // too many for a cache, each unit would fetch them all from memory.
    const int64_t rounds = ceil_divide(blocking.units, args.threads);
    const bool idle = args.threads > 1 && rounds * args.threads * 4 > blocking.units * 5;
    const int64_t weight_bytes = winograd::packed_floats(args.conv, geometry) * 4;
    const bool crowded = weight_bytes + blocking.rows * wide * tile_bytes > kCacheBytes;
    const int64_t held = rounds == 1 ? kNearBytes : crowded ? kMostWeightBytes : kWeightBytes;
    blocking.shared = idle || (weight_bytes > held && blocking.units > 1);
    if (args.blocking.shared) blocking.shared = args.blocking.shared > 0;
    const int64_t parts = ceil_divide(blocks_of(args.conv.out_channels), winograd::kPartBlocks);
    // Weights that are packed for this call alone do not leave the caches where a unit packs what it
    // multiplies.
    blocking.packs = !args.packed && weight_bytes > kFewBytes && parts >= args.threads &&
                     blocking.rows * wide * tile_bytes <= kSharedBytes;
    blocking.shared |= blocking.packs;
    if (blocking.shared && parts >= args.threads) {  // units are parts of the channels, and rows go together
        blocking.rows_a_unit = ceil_divide(blocking.rows, ceil_divide(blocking.rows * wide, kMostTiles));
    }
    if (args.blocking.rows) blocking.rows_a_unit = std::min<int64_t>(args.blocking.rows, blocking.rows);
    if (blocking.packs) blocking.rows_a_unit = blocking.rows;  // each slice of the weights is packed once
    blocking.units = ceil_divide(blocking.rows, blocking.rows_a_unit);
    const int64_t row_bytes = wide * tile_bytes;
    const int64_t stretches = std::max<int64_t>(1, kSharedBytes / (row_bytes * blocking.rows_a_unit));
    blocking.rows_shared = std::min(blocking.rows, stretches * blocking.rows_a_unit);
    return blocking;
}

// Rows of a unit: an even number where rows are pooled in pairs.
int64_t rows_for(const Args& args, int64_t wanted, int64_t rows) {
    const int64_t pool = args.epilogue.pool[0];
    if (args.blocking.rows) wanted = args.blocking.rows;
    return std::min(ceil_divide(wanted, pool) * pool, rows);
}

Blocking direct_blocking(const Args& args, const Geometry& geometry) {
    Blocking blocking;
    size_t taps = 1;
    const int64_t passes = static_cast<int64_t>(geometry.passes.size());
    blocking.rows = geometry.most_rows();
    for (const Pass& pass : geometry.passes) {
        for (const Phase& phase : pass.phases) taps = std::max(taps, phase.taps.size());
    }
    const int64_t panel = panel_blocks(current_isa());
    const int64_t in_blocks = blocks_of(geometry.group_in), out_blocks = blocks_of(geometry.group_out);
    blocking.rows_a_unit =
        rows_for(args, std::max<int64_t>(1, kPixelsAUnit / (geometry.out_width * passes)), blocking.rows);
    const int64_t panel_bytes = static_cast<int64_t>(taps) * steps_of(args.conv, kBlock) * panel * kBlock * 4;
    blocking.slice =
        std::min(in_blocks, std::max<int64_t>(1, (taps > 1 ? kPanelBytes : kTapBytes) / panel_bytes));
    blocking.part = std::min(out_blocks, kSumBlocks);
    const int64_t samples = args.batch * args.conv.groups * ceil_divide(blocking.rows, blocking.rows_a_unit);
    while (blocking.part > panel && samples * ceil_divide(out_blocks, blocking.part) < 2 * args.threads) {
        blocking.part = ceil_divide(blocking.part / 2, panel) * panel;
    }
    blocking.units = samples * ceil_divide(out_blocks, blocking.part);
    return blocking;
}

// Units of the matrix unit's kernel: as many rows, or whole samples, as stay in the L2 cache staged and with
// their sums; each for as many output channels as leave a unit for every thread, so that staging is repeated
// seldom.
Blocking matrix_blocking(const Args& args, const Geometry& geometry) {
    Blocking blocking;
    const int64_t passes = static_cast<int64_t>(geometry.passes.size()),
                  blocks = blocks_of(geometry.group_out);
    const int64_t staged_row = static_cast<int64_t>(geometry.columns.size()) * geometry.in_step[0] *
                               steps_of(args.conv, geometry.group_in) * 4;
    const int64_t sums_row =
        matrix::pitch_of(geometry) * geometry.out_step[1] * passes * padded(geometry.group_out) * 4;
    const int64_t twice = geometry.last_tap[0] - geometry.first_tap[0];  // rows that two units both stage
    blocking.rows = geometry.most_rows();
    const int64_t fit = std::max<int64_t>(1, kMatrixBytes / (staged_row + sums_row));
    const int64_t images = args.batch * args.conv.groups;
    const int64_t stretches = std::max(ceil_divide(blocking.rows, fit), ceil_divide(args.threads, images));
    const int64_t fewest = std::max<int64_t>(1, kFewestPixels / matrix::pitch_of(geometry));
    blocking.rows_a_unit =
        rows_for(args, std::max(ceil_divide(blocking.rows, stretches), fewest), blocking.rows);
    if (blocking.rows_a_unit == blocking.rows) {
        const int64_t rows = blocking.rows + twice;
        const int64_t most = std::max(ceil_divide(images, 2 * args.threads), ceil_divide(fewest, rows));
        blocking.samples_a_unit = std::clamp<int64_t>(std::min(most, fit / rows), 1, args.batch);
    }
    const int64_t units = ceil_divide(args.batch, blocking.samples_a_unit) * args.conv.groups *
                          ceil_divide(blocking.rows, blocking.rows_a_unit);
    blocking.part = blocks;
    // A sequence's one row may be long: then fewer channels' sums at once.
    const auto bytes = [&] { return blocking.rows_a_unit * sums_row * blocking.part / blocks; };
    while (blocking.part > 2 &&
           (units * ceil_divide(blocks, blocking.part) < args.threads || bytes() > kMatrixBytes)) {
        blocking.part = ceil_divide(blocking.part / 2, 2) * 2;
    }
    blocking.units = units * ceil_divide(blocks, blocking.part);
    return blocking;
}

// Rows of a unit that stages all its rows at once: as many as fit the cache, where a row of the image and of
// what is staged takes `images` images of 16 channels, and few enough that all threads have work.
int64_t staged_rows(const Args& args, const Geometry& geometry, int64_t images, int64_t parts) {
    const int64_t row_bytes =
        images * static_cast<int64_t>(geometry.columns.size()) * geometry.in_step[0] * kBlock * 4;
    const int64_t twice = geometry.last_tap[0] - geometry.first_tap[0];  // rows that two units both stage
    const int64_t fit = std::max(kStagedBytes / row_bytes - twice, twice + 1);
    const int64_t rows = geometry.most_rows();
    const int64_t wanted = ceil_divide(2 * args.threads, args.batch * parts);
    return rows_for(args, std::min(fit, ceil_divide(rows, wanted)), rows);
}

Blocking batched_blocking(const Args& args, const Geometry& geometry) {
    Blocking blocking;
    const int64_t panel = panel_blocks(current_isa()), blocks = blocks_of(geometry.group_out);
    blocking.rows = args.batch;
    blocking.rows_a_unit = std::min(args.batch, ceil_divide(kSamplesAUnit, args.height * args.width));
    blocking.part = std::min(blocks, panel);
    blocking.units = args.conv.groups * ceil_divide(blocking.rows, blocking.rows_a_unit) *
                     ceil_divide(blocks, blocking.part);
    return blocking;
}

Blocking planar_blocking(const Args& args, const Geometry& geometry) {
    Blocking blocking;
    blocking.rows = geometry.most_rows();
    blocking.rows_a_unit = staged_rows(args, geometry, 1, args.conv.groups);
    blocking.units = args.batch * args.conv.groups * ceil_divide(blocking.rows, blocking.rows_a_unit);
    return blocking;
}

// Blocks of channels that lie together in memory are one unit's, as long as there are enough for all threads.
Blocking depthwise_blocking(const Args& args, const Geometry& geometry) {
    Blocking blocking;
    const int64_t blocks = blocks_of(args.conv.out_channels);
    blocking.rows = geometry.most_rows();
    blocking.rows_a_unit = staged_rows(args, geometry, geometry.group_in + blocks, blocks);
    const int64_t stretches = args.batch * ceil_divide(blocking.rows, blocking.rows_a_unit);
    blocking.part = ceil_divide(blocks, std::min(blocks, ceil_divide(2 * args.threads, stretches)));
    blocking.units = stretches * ceil_divide(blocks, blocking.part);
    return blocking;
}

Blocking identity_blocking(const Args& args) {
    Blocking blocking;
    blocking.rows = args.height;
    blocking.rows_a_unit = rows_for(args, std::max<int64_t>(1, kPixelsWithout / args.width), args.height);
    blocking.units =
        args.batch * blocks_of(args.conv.in_channels) * ceil_divide(args.height, blocking.rows_a_unit);
    return blocking;
}

Blocking blocking_of(const Args& args, const Geometry& geometry) {
    switch (args.conv.algorithm) {
        case GENFUSE_CONV_WINOGRAD:
            return winograd_blocking(args, geometry);
        case GENFUSE_CONV_PLANAR:
            return planar_blocking(args, geometry);
        case GENFUSE_CONV_BATCHED:
            return batched_blocking(args, geometry);
        case GENFUSE_CONV_DEPTHWISE:
            return depthwise_blocking(args, geometry);
        case GENFUSE_CONV_MATRIX:
            return matrix_blocking(args, geometry);
        case GENFUSE_CONV_NONE:
            return identity_blocking(args);
        default:
            return direct_blocking(args, geometry);
    }
}

// The kernel of an algorithm that has one for all of a unit.
ConvUnit unit_of(int32_t algorithm) {
    switch (algorithm) {
        case GENFUSE_CONV_PLANAR:
            return GENFUSE_KERNEL(planar_unit);
        case GENFUSE_CONV_BATCHED:
            return GENFUSE_KERNEL(batched_unit);
        case GENFUSE_CONV_DEPTHWISE:
            return GENFUSE_KERNEL(depthwise_unit);
        case GENFUSE_CONV_MATRIX:
            return GENFUSE_KERNEL(matrix_unit);
        case GENFUSE_CONV_NONE:
            return GENFUSE_KERNEL(identity_unit);
        default:
            return GENFUSE_KERNEL(direct_unit);
    }
}

// Bytes of a slot's memory, beside what statistics take.
size_t frame_bytes(const ConvJob& job) {
    switch (job.args->conv.algorithm) {
        case GENFUSE_CONV_WINOGRAD:
            return winograd::Frame(job, nullptr).used;
        case GENFUSE_CONV_PLANAR:
            return planar::Frame(job, nullptr).used;
        case GENFUSE_CONV_BATCHED:
            return batched::Frame(job, nullptr).used;
        case GENFUSE_CONV_DEPTHWISE:
            return depthwise::Frame(job, nullptr).used;
        case GENFUSE_CONV_MATRIX:
            return matrix::Frame(job, nullptr).used;
        case GENFUSE_CONV_NONE:
            return identity::Frame(job, nullptr).used;
        default:
            return direct::Frame(job, nullptr).used;
    }
}

// Whether an image's rows follow each other without a gap.
bool rows_adjoin(const genfuse_image& image, int64_t width) {
    return !image.data || (image.layout != GENFUSE_BLOCKED && image.stride_h == width * image.stride_w);
}

// A 1x1 convolution knows no rows: its pixels in rows as long as the products like them, whole groups of 6
// and few enough for many units, where the images' rows adjoin.
Args with_long_rows(const Args& args) {
    const genfuse_conv& conv = args.conv;
    Args changed = args;
    if (!is_pointwise(conv) || args.epilogue.pool[0] * args.epilogue.pool[1] != 1) return args;
    const genfuse_image* const images[] = {&args.x, &args.skip, &args.epilogue.residual,
                                           &args.epilogue.residual_skip, &args.out};
    for (const genfuse_image* image : images) {
        if (!rows_adjoin(*image, args.width)) return args;
    }
    if (conv.algorithm != GENFUSE_CONV_DIRECT || args.height == 1) return args;
    const int64_t pixels = args.height * args.width;
    for (int64_t tried = 0; tried < kLongestRow - kShortestRow; ++tried) {
        const int64_t width = tried < kLongestRow - kLikedRow
                                  ? kLikedRow + tried
                                  : kShortestRow + tried - (kLongestRow - kLikedRow);
        if (pixels % width) continue;
        changed.width = width;
        changed.height = pixels / width;
        for (genfuse_image* image : {&changed.x, &changed.skip, &changed.epilogue.residual,
                                     &changed.epilogue.residual_skip, &changed.out})
            image->stride_h = width * image->stride_w;
        return changed;
    }
    return args;
}

class Call {
  public:
    explicit Call(const Args& args)
        : args_(with_long_rows(args)), geometry_(args_.conv, args_.height, args_.width) {
        job_.args = &args_;
        job_.geometry = &geometry_;
        job_.in_channels = args_.conv.in_channels;
        job_.out_channels = args_.conv.out_channels;
        if (args_.threads < 1) args_.threads = 1;
        if (args_.conv.algorithm == GENFUSE_CONV_DIRECT && args_.conv.product == GENFUSE_FLOAT32 &&
            batched::applies(args_.conv, geometry_)) {
            args_.conv.algorithm = GENFUSE_CONV_BATCHED;
        }
        if (!args_.packed && args_.conv.algorithm != GENFUSE_CONV_NONE) {
            pack_ = {&args_.conv, &geometry_, args_.weight, nullptr, nullptr, 0};
        }
    }

    void run() {
        const bool winograd = args_.conv.algorithm == GENFUSE_CONV_WINOGRAD;
        blocking_ = blocking_of(args_, geometry_);
        job_.rows = blocking_.rows;
        job_.first_row = 0;
        job_.last_row = blocking_.rows;
        job_.rows_a_unit = blocking_.rows_a_unit;
        job_.slice = blocking_.slice;
        job_.part = blocking_.part;
        job_.samples_a_unit = blocking_.samples_a_unit;
        job_.shares_input = blocking_.shared;
        job_.pack = blocking_.packs ? &pack_ : nullptr;
        count_partials(winograd);
        carve(nullptr);
        carve(thread_arena(bytes_));
        pack();
        prologue_.prepare(job_);
        if (winograd) {
            run_winograd();
        } else {
            run_slots(unit_of(args_.conv.algorithm), job_, blocking_.units, args_.threads);
        }
        if (job_.partial) merge_partials(job_, counts_, args_.epilogue.stats);
    }

  private:
    Args args_;
    const Geometry geometry_;
    Blocking blocking_;
    ConvJob job_{};
    std::vector<int64_t> counts_;  // pixels of each partial result
    Prologue prologue_;
    PackJob pack_{};           // of weights that are not packed yet
    float* packed_ = nullptr;  // what they become, but where units pack their own
    size_t bytes_ = 0;

    void count_partials(bool winograd) {
        if (!args_.epilogue.stats) return;
        const int64_t pool = args_.epilogue.pool[0], width = geometry_.out_width / args_.epilogue.pool[1];
        const int32_t tile = args_.conv.tile;
        if (!winograd) {
            counts_.assign(static_cast<size_t>(geometry_.out_height / pool), width);
        } else {
            for (int64_t row = 0; row < winograd::tiles(geometry_, 0, tile); ++row) {
                for (const Pass& pass : geometry_.passes) {
                    const int64_t left = geometry_.pass_rows(pass) - tile * row;
                    const int64_t rows = std::max<int64_t>(0, std::min<int64_t>(left, tile));
                    counts_.push_back(rows / pool * width);
                }
            }
        }
        job_.partial_rows = static_cast<int64_t>(counts_.size());
    }

    // Lays out the arena; without memory, counts what it takes.
    void carve(void* memory) {
        Carver carver(memory);
        prologue_.carve(carver, args_, job_.in_channels);
        if (!counts_.empty())
            job_.partial = carver.take<float>(args_.batch * job_.partial_rows * 2 * job_.out_channels);
        int64_t slot = Prologue::slot_floats(args_);
        if (job_.shares_input) {
            const winograd::Frame frame(job_, nullptr);
            job_.shared = carver.take<float>(frame.points * frame.input_plane(job_.rows));
        }
        slot = std::max(slot, static_cast<int64_t>(frame_bytes(job_) / sizeof(float)));
        if (pack_.weight.data && !job_.pack) {
            slot = std::max(slot, pack_slot_floats(args_.conv, geometry_));
            packed_ = carver.take<float>(packed_floats(args_.conv, geometry_));
        }
        job_.memory_a_slot = (slot + kBlock - 1) / kBlock * kBlock;
        job_.memory = carver.take<float>(job_.memory_a_slot * args_.threads);
        bytes_ = carver.used();
    }

    void pack() {
        if (!pack_.weight.data || job_.pack) return;
        pack_weights(args_.conv, geometry_, pack_.weight, packed_, job_.memory, job_.memory_a_slot,
                     args_.threads);
        args_.packed = packed_;
    }

    void run_winograd() {
        if (!blocking_.shared) {
            run_slots(GENFUSE_KERNEL(winograd_unit), job_, blocking_.units, args_.threads);
            return;
        }
        const int64_t parts = ceil_divide(blocks_of(job_.out_channels), winograd::kPartBlocks);
        const int64_t input_parts = winograd::input_parts(blocks_of(job_.in_channels));
        for (int64_t row = 0; row < job_.rows; row += blocking_.rows_shared) {
            job_.first_row = row;
            job_.last_row = std::min(job_.rows, row + blocking_.rows_shared);
            const int64_t stretches = ceil_divide(job_.last_row - job_.first_row, job_.rows_a_unit);
            run_slots(GENFUSE_KERNEL(winograd_input_unit), job_, stretches * input_parts, args_.threads);
            if (job_.pack) {
                run_slots(GENFUSE_KERNEL(winograd_part_unit), job_, parts, args_.threads);
            } else {
                run_slots(GENFUSE_KERNEL(winograd_product_unit), job_, stretches * parts, args_.threads);
            }
        }
    }
};

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_conv_norm_act(const genfuse_conv_norm_act_args* args, genfuse_message* message) {
    using namespace genfuse;
    const genfuse_status status = check_args(*args, message);
    if (status != GENFUSE_OK || args->batch == 0) return status;
    try {
        Call(*args).run();
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in conv_norm_act");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}

genfuse_status genfuse_conv_output(const genfuse_conv* conv, int64_t height, int64_t width, int64_t out[2],
                                   genfuse_message* message) {
    const genfuse_status status = genfuse::check_conv(*conv, message);
    if (status != GENFUSE_OK) return status;
    out[0] = genfuse::output_size(*conv, 0, height);
    out[1] = genfuse::output_size(*conv, 1, width);
    return GENFUSE_OK;
}
