// The weight gradient from its arguments to its kernels.
#include <algorithm>
#include <cstring>
#include <new>

#include "common/dispatch.h"
#include "common/divide.h"
#include "common/message.h"
#include "conv_norm_act/check.h"
#include "conv_norm_act/prologue.h"
#include "conv_norm_act/weight_gradient_job.h"

namespace genfuse {
namespace {

constexpr int64_t kPixelsAtOnce = 128;    // whose lanes stay in the L1 cache while all rows meet them
constexpr int64_t kSumBytes = 256 << 10;  // of a unit's sums, which stay in the L2 cache
// Of a launch at least, where there are as many; of a slice at least. Neither may depend on the threads.
constexpr int64_t kUnits = 8, kStretches = 4;
constexpr int64_t kLanesTogether = 3;                       // blocks that the widest kernel sums at once
constexpr int64_t kMostRowBlocks = 4, kMostLaneBlocks = 3;  // of a unit of Winograd's: its sums likewise
constexpr int64_t kSharedBytes = 16 << 20;                  // of transformed tiles that are summed at once
constexpr int64_t kMatrixSumBytes = 640 << 10;              // of a unit of the matrix unit's
constexpr int64_t kTilesAUnit = 16;                         // that a thread transforms one after the other
// Channels up to which Winograd's transforms cost more than the products that they save.
constexpr int64_t kFewChannels = 8;
constexpr int64_t kInputBlocks = winograd::kInputBlocks;

class Call {
  public:
    explicit Call(const genfuse_weight_gradient_args& args)
        : args_(args.unit), geometry_(with_kernel(args), args.unit.height, args.unit.width) {
        job_.conv.args = &args_;
        job_.conv.geometry = &geometry_;
        job_.conv.in_channels = args_.conv.in_channels;
        job_.conv.out_channels = args_.conv.out_channels;
        job_.gradient = &args_.out;
        job_.weights = weights_of(args_.conv);
        const bool rounds = args.weight_dtype == GENFUSE_BFLOAT16;
        job_.weight = rounds ? nullptr : static_cast<float*>(args.weight);
        job_.rounded = rounds ? args.weight : nullptr;
        job_.accumulate = args.accumulate != 0;
        args_.threads = std::max(1, args_.threads);
    }

    void run() {
        if (args_.conv.algorithm == GENFUSE_CONV_MATRIX) {
            run_matrix();
        } else if (args_.conv.algorithm == GENFUSE_CONV_WINOGRAD) {
            run_winograd();
        } else {
            run_direct();
        }
        if (job_.rounded && job_.weight) {
            run_slots(GENFUSE_KERNEL(round_weights_unit), job_, ceil_divide(job_.weights, kRoundedAUnit),
                      args_.threads);
        }
    }

  private:
    genfuse_conv_norm_act_args args_;
    const Geometry geometry_;
    WeightGradientJob job_{};
    Prologue prologue_;

    const genfuse_conv& with_kernel(const genfuse_weight_gradient_args& args) {
        genfuse_conv& conv = args_.conv;
        conv.folded = 0;
        conv.product = GENFUSE_FLOAT32;
        if (args.unit.dtype == GENFUSE_BFLOAT16 && current_isa() == Isa::amx_bf16) {
            conv.algorithm = GENFUSE_CONV_MATRIX;
            conv.tile = 0;
            conv.product = GENFUSE_BFLOAT16;
            return conv;
        }
        const bool winograd = !args.exact && std::min(conv.in_channels, conv.out_channels) > kFewChannels &&
                              winograd_applies(conv) &&
                              winograd_pays(conv, args.unit.height, args.unit.width);
        conv.algorithm = winograd ? GENFUSE_CONV_WINOGRAD : GENFUSE_CONV_DIRECT;
        conv.tile = winograd ? winograd::kTile : 0;
        return conv;
    }

    // Whether its products, with those of tiles that jut out of the picture, are fewer than the definition's.
    static bool winograd_pays(const genfuse_conv& conv, int64_t height, int64_t width) {
        const Geometry geometry(conv, height, width);
        int64_t products = 0, pixels = 0;
        for (const Pass& pass : geometry.passes) {
            for (const Phase& phase : pass.phases) {
                winograd::Live live;
                live.find(geometry, phase, winograd::kTile);
                products += live.products();
                pixels += static_cast<int64_t>(phase.taps.size()) * geometry.pass_rows(pass) *
                          geometry.phase_columns(phase);
            }
        }
        const int64_t tiles =
            winograd::tiles(geometry, 0, winograd::kTile) * winograd::tiles(geometry, 1, winograd::kTile);
        return pixels * 4 > products * tiles * 5;
    }

    // Lays out the arena for slots of so many bytes, `shared` floats beside them, and prepares the norm. Sums
    // that are not rounded as they are written have room there too.
    float* prepare(size_t slot_bytes, int64_t shared, bool rounds = false) {
        const int64_t floats =
            std::max<int64_t>(static_cast<int64_t>(slot_bytes / sizeof(float)), Prologue::slot_floats(args_));
        job_.memory_a_slot = ceil_divide(floats, kBlock) * kBlock;
        float* room = nullptr;
        const auto carve = [&](void* memory) {
            Carver carver(memory);
            prologue_.carve(carver, args_, job_.conv.in_channels);
            room = carver.take<float>(shared);
            if (job_.rounded && !rounds) job_.weight = carver.take<float>(job_.weights);
            job_.memory = carver.take<float>(job_.memory_a_slot * args_.threads);
            return carver.used();
        };
        carve(thread_arena(carve(nullptr)));
        job_.conv.memory = job_.memory;
        job_.conv.memory_a_slot = job_.memory_a_slot;
        prologue_.prepare(job_.conv);
        return room;
    }

    void run_direct() {
        job_.conv.rows = geometry_.most_rows();
        const int64_t rows = job_.conv.rows, width = geometry_.out_width;
        job_.rows_at_once = std::clamp<int64_t>(kPixelsAtOnce / width, 1, rows);
        job_.samples_at_once = job_.rows_at_once < rows
                                   ? 1
                                   : std::clamp<int64_t>(kPixelsAtOnce / (rows * width), 1, args_.batch);
        job_.stretches =
            ceil_divide(args_.batch, job_.samples_at_once) * ceil_divide(rows, job_.rows_at_once);
        job_.lanes_are_inputs = geometry_.group_in > geometry_.group_out;
        deal_direct();
        const direct_gradient::Frame frame(job_, nullptr);
        const int64_t units = direct_gradient::units_of(job_);
        job_.sums = prepare(frame.used, job_.slices * units * frame.taps * frame.sums_tap);
        run_slots(GENFUSE_KERNEL(direct_gradient_unit), job_, job_.slices * units, args_.threads);
        run_slots(GENFUSE_KERNEL(direct_gradient_merge_unit), job_, units, args_.threads);
    }

    // Rows and lanes of a unit about as many, so that both sides' pixels are staged seldom; slices only where
    // their sums, which cost time too, are of many stretches.
    void deal_direct() {
        const int64_t taps = int64_t{args_.conv.kernel[0]} * args_.conv.kernel[1];
        const int64_t pairs = std::max<int64_t>(1, kSumBytes / (taps * kBlock * kBlock * 4));
        const int64_t row_blocks = blocks_of(job_.row_channels()),
                      lane_blocks = blocks_of(job_.lane_channels());
        int64_t wide = kLanesTogether;
        while (wide * wide < pairs) wide += kLanesTogether;
        job_.lane_part = std::min(lane_blocks, wide);
        job_.row_part = std::min(row_blocks, std::max<int64_t>(1, pairs / job_.lane_part));
        job_.lane_part = std::min(lane_blocks, std::max(job_.lane_part, pairs / job_.row_part));
        const auto units = [&] {
            job_.slices = std::clamp<int64_t>(kUnits / direct_gradient::units_of(job_), 1,
                                              std::max<int64_t>(1, job_.stretches / kStretches));
            return job_.slices * direct_gradient::units_of(job_);
        };
        while (units() < kUnits && job_.row_part > 1) job_.row_part = ceil_divide(job_.row_part, 2);
        while (units() < kUnits && job_.lane_part > 1) job_.lane_part = ceil_divide(job_.lane_part, 2);
    }

    // As large parts of the weights as leave work for all threads and sums that fit the L2 cache, so that
    // staged pixels are read seldom.
    void deal_matrix() {
        const int64_t row_blocks = blocks_of(geometry_.group_out),
                      lane_blocks = blocks_of(geometry_.group_in);
        const int64_t pair_bytes = int64_t{args_.conv.kernel[0]} * args_.conv.kernel[1] * kBlock * kBlock * 4;
        job_.row_part = row_blocks;
        job_.lane_part = lane_blocks;
        const auto units = [&] {
            return ceil_divide(row_blocks, job_.row_part) * ceil_divide(lane_blocks, job_.lane_part);
        };
        while (
            job_.row_part * job_.lane_part > 2 &&
            (units() < 2 * args_.threads || job_.row_part * job_.lane_part * pair_bytes > kMatrixSumBytes)) {
            int64_t& part =
                job_.row_part > job_.lane_part || job_.lane_part <= 2 ? job_.row_part : job_.lane_part;
            part = ceil_divide(ceil_divide(part, 2), part > 2 ? 2 : 1) * (part > 2 ? 2 : 1);
        }
    }

    // All threads stage some samples, or some rows of one, of the input and of the gradient; then each sums
    // its part of the weights over them.
    void run_matrix() {
        const int64_t rows = geometry_.most_rows();
        const auto floats = [this](const matrix_gradient::Frame& frame) {
            return blocks_of(geometry_.group_in) * frame.input_block +
                   blocks_of(geometry_.group_out) * frame.gradient_block;
        };
        const auto bytes = [&](int64_t rows_at_once) {
            job_.rows_at_once = rows_at_once;
            return floats(matrix_gradient::Frame(job_, nullptr)) * static_cast<int64_t>(sizeof(float));
        };
        deal_matrix();
        job_.samples_at_once = 1;
        const int64_t whole = bytes(rows), at_once = ceil_divide(rows, ceil_divide(whole, kSharedBytes));
        job_.samples_at_once = std::clamp<int64_t>(kSharedBytes / whole, 1, args_.batch);
        job_.rows_at_once = at_once;
        const matrix_gradient::Frame frame(job_, nullptr);
        const int64_t in_blocks = blocks_of(geometry_.group_in), out_blocks = blocks_of(geometry_.group_out);
        const bool at_once_all = job_.samples_at_once == args_.batch && at_once == rows;
        job_.inputs = prepare(frame.used, floats(frame), at_once_all);
        job_.gradients = job_.inputs + in_blocks * frame.input_block;
        const int64_t parts =
            parts_of(geometry_.group_in, job_.lane_part) * parts_of(geometry_.group_out, job_.row_part);
        const int64_t samples = job_.samples_at_once;
        const bool accumulate = job_.accumulate;
        for (job_.group = 0; job_.group < args_.conv.groups; ++job_.group) {
            job_.accumulate = accumulate;
            for (job_.first_sample = 0; job_.first_sample < args_.batch; job_.first_sample += samples) {
                job_.samples_at_once = std::min(samples, args_.batch - job_.first_sample);
                for (job_.first_row = 0; job_.first_row < rows; job_.first_row += at_once) {
                    job_.last_row = std::min(rows, job_.first_row + at_once);
                    run_slots(GENFUSE_KERNEL(matrix_gradient_input_unit), job_,
                              in_blocks * job_.samples_at_once, args_.threads);
                    run_slots(GENFUSE_KERNEL(matrix_gradient_output_unit), job_,
                              out_blocks * static_cast<int64_t>(geometry_.passes.size()), args_.threads);
                    run_slots(GENFUSE_KERNEL(matrix_gradient_sum_unit), job_, parts, args_.threads);
                    job_.accumulate = true;
                }
            }
        }
    }

    // All threads transform some rows of tiles, of the input and of the gradient; then each sums its part of
    // the weights over them.
    void run_winograd() {
        const int64_t rows = args_.batch * winograd::tiles(geometry_, 0, winograd::kTile);
        const int64_t wide = winograd::tiles(geometry_, 1, winograd::kTile);
        const int64_t in_blocks = blocks_of(args_.conv.in_channels),
                      out_blocks = blocks_of(args_.conv.out_channels);
        const int64_t shares = winograd::shares(geometry_), phases = winograd_gradient::phases(geometry_);
        const int64_t row_bytes = (shares * in_blocks + phases * out_blocks) * winograd_gradient::kPoints *
                                  wide * kBlock * static_cast<int64_t>(sizeof(float));
        const int64_t at_once = ceil_divide(rows, ceil_divide(rows * row_bytes, kSharedBytes));
        job_.lanes_are_inputs = !args_.conv.transposed;  // as weights lie
        job_.lane_part = std::min(blocks_of(job_.lane_channels()), kMostLaneBlocks);
        job_.row_part = std::min(blocks_of(job_.row_channels()), kMostRowBlocks);
        job_.last_row = at_once;
        job_.conv.rows_a_unit = std::min(at_once, ceil_divide(kTilesAUnit, wide));
        const winograd_gradient::Frame frame(job_, nullptr);
        const int64_t input_floats = shares * winograd_gradient::kPoints * frame.input_plane;
        const int64_t gradient_floats = phases * winograd_gradient::kPoints * frame.gradient_plane;
        float* const room = prepare(frame.used, input_floats + gradient_floats);
        job_.inputs = room;
        job_.gradients = room + input_floats;
        const int64_t parts =
            parts_of(job_.row_channels(), job_.row_part) * parts_of(job_.lane_channels(), job_.lane_part);
        for (int64_t row = 0; row < rows; row += at_once) {
            job_.first_row = row;
            job_.last_row = std::min(rows, row + at_once);
            const int64_t count = ceil_divide(job_.last_row - row, job_.conv.rows_a_unit);
            run_slots(GENFUSE_KERNEL(winograd_gradient_input_unit), job_,
                      count * ceil_divide(in_blocks, kInputBlocks), args_.threads);
            run_slots(GENFUSE_KERNEL(winograd_gradient_output_unit), job_,
                      count * ceil_divide(out_blocks, kInputBlocks), args_.threads);
            run_slots(GENFUSE_KERNEL(winograd_gradient_sum_unit), job_, parts, args_.threads);
            job_.accumulate = true;
        }
    }
};

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_weight_gradient(const genfuse_weight_gradient_args* args, genfuse_message* message) {
    using namespace genfuse;
    genfuse_conv_norm_act_args unit = args->unit;
    unit.packed =
        static_cast<const float*>(args->weight);  // what a forward call needs: checked as if it were one
    unit.epilogue = genfuse_epilogue{};
    unit.epilogue.pool[0] = unit.epilogue.pool[1] = 1;
    const genfuse_status status = check_args(unit, message);
    if (status != GENFUSE_OK) return status;
    if (!args->weight) return invalid(message, "weight is absent, expected room for its gradient%s", "");
    if (args->weight_dtype != GENFUSE_FLOAT32 &&
        (args->weight_dtype != GENFUSE_BFLOAT16 || args->accumulate)) {
        return invalid(message,
                       "dtype of the weight is code %d, expected float32, or bfloat16 that is not added to",
                       static_cast<int>(args->weight_dtype));
    }
    const int64_t bytes = weights_of(unit.conv) * (args->weight_dtype == GENFUSE_FLOAT32 ? 4 : 2);
    if (unit.batch == 0 && !args->accumulate) std::memset(args->weight, 0, static_cast<size_t>(bytes));
    if (unit.batch == 0) return GENFUSE_OK;
    try {
        Call(*args).run();
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in weight_gradient");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
