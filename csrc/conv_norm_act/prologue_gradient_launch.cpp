// The prologue's gradient from its arguments to its kernels: checks, passes, threads.
#include <algorithm>
#include <new>
#include <vector>

#include "common/dispatch.h"
#include "common/divide.h"
#include "common/message.h"
#include "conv_norm_act/check.h"
#include "conv_norm_act/moments.h"
#include "conv_norm_act/prologue_gradient.h"
#include "conv_norm_act/statistics.h"

namespace genfuse {
namespace {

using Args = genfuse_prologue_gradient_args;

// Of what these decide only the stretches and whether sets are kept change a bit of the result: these depend
// on the sizes of a sample alone, and for batch norm on the batch.
constexpr int64_t kPiecePixels = 128;        // of a sum in float32
constexpr int64_t kStretchPixels = 1024;     // of a unit of one block of channels
constexpr int64_t kAllChannelsPixels = 256;  // of a unit of all of them
constexpr int64_t kUnitsAThread = 2;         // where there are enough: neighbours are read together
constexpr int64_t kKeptBytes = 512 << 10;    // of a set that stays in the L2 cache between the passes

int64_t pixel_stride_of(const genfuse_image& image) {
    return image.layout == GENFUSE_PLANAR ? 1 : image.stride_w;
}

bool takes_stats(const Args& args) {
    return args.prologue.kind == GENFUSE_NORM_BATCH || args.prologue.kind == GENFUSE_NORM_GROUP;
}

genfuse_status check_gradients(const Args& args, int64_t channels, genfuse_message* message) {
    genfuse_status status = check_image("gradient", args.gradient, channels, message);
    const struct {
        const char* name;
        const genfuse_image &image, &of;
    } given[] = {{"x_gradient", args.x_gradient, args.x},
                 {"skip_gradient", args.skip_gradient, args.skip},
                 {"x_added", args.x_added, args.x},
                 {"skip_added", args.skip_added, args.skip}};
    for (const auto& each : given) {
        if (status != GENFUSE_OK || !each.image.data) continue;
        status = check_image(each.name, each.image, each.of.channels, message);
    }
    if (status != GENFUSE_OK) return status;
    if (takes_stats(args) && !args.prologue.stats) {
        return invalid(message, "stats is absent, expected what the norm took: (N, C, 2)%s", "");
    }
    if (args.stats_gradient && (args.through_stats || !takes_stats(args))) {
        return invalid(message, "stats has a gradient of its own where it was given and read%s", "");
    }
    if (args.prologue.kind != GENFUSE_NORM_PIXEL && !args.prologue.centred) {
        return invalid(message, "the mean is not subtracted, expected that of a norm per pixel only%s", "");
    }
    if (!args.x.data || !args.gradient.data) {
        return invalid(message, "x or gradient is absent, expected both%s", "");
    }
    return GENFUSE_OK;
}

genfuse_status check(const Args& args, genfuse_message* message) {
    if (args.dtype != GENFUSE_FLOAT32 && args.dtype != GENFUSE_BFLOAT16 && args.dtype != GENFUSE_FLOAT16) {
        return invalid(message, "dtype is code %d, expected float32, bfloat16 or float16",
                       static_cast<int>(args.dtype));
    }
    if (args.batch < 1 || args.height < 1 || args.width < 1 || args.x.channels < 1 ||
        (args.skip.data && args.skip.channels < 1)) {
        return invalid(message, "x has %lld samples of %d channels of %lld x %lld pixels, expected some",
                       static_cast<long long>(args.batch), static_cast<int>(args.x.channels),
                       static_cast<long long>(args.height), static_cast<long long>(args.width));
    }
    const int64_t skipped = args.skip.data ? args.skip.channels : 0, channels = args.x.channels + skipped;
    genfuse_status status = check_prologue(args.prologue, channels, message);
    if (status == GENFUSE_OK) status = check_image("x", args.x, args.x.channels, message);
    if (status == GENFUSE_OK && skipped) status = check_image("skip", args.skip, skipped, message);
    return status == GENFUSE_OK ? check_gradients(args, channels, message) : status;
}

class Call {
  public:
    explicit Call(const Args& args) : args_(args) {
        args_.threads = std::max(1, args.threads);
        join_rows();
        read_args_.dtype = args_.dtype;
        read_args_.batch = args_.batch;
        read_args_.height = args_.height;
        read_args_.width = args_.width;
        read_args_.x = args_.x;
        read_args_.skip = args_.skip;
        read_args_.prologue = args_.prologue;
        read_.args = &read_args_;
        job_.args = &args_;
        job_.read = &read_;
        job_.channels = args_.x.channels + (args_.skip.data ? args_.skip.channels : 0);
        read_.in_channels = job_.channels;
        job_.writes = args_.x_gradient.data || args_.skip_gradient.data;
        job_.total = args_.through_stats && takes_stats(args_) && job_.writes;
        wants_parameters_ = args_.weight_gradient || args_.bias_gradient || args_.film_scale_gradient ||
                            args_.film_shift_gradient || args_.stats_gradient;
    }

    void run() {
        if (!job_.writes && !wants_parameters_) return;
        cut();
        carve(nullptr);
        carve(thread_arena(bytes_));
        prepare_norm();
        if (args_.prologue.kind == GENFUSE_NORM_PIXEL) {
            run_units(GENFUSE_KERNEL(gradient_pixel_unit), args_.batch * job_.stretches);
            merge_partial();
        } else if (keeps_) {
            run_units(GENFUSE_KERNEL(gradient_set_unit), args_.batch / job_.samples_a_set * job_.parts);
        } else {
            const bool twice = job_.total;
            job_.writes = job_.writes && !twice;
            run_stretches();
            merge_partial();
            if (job_.sums) fold_gradient(job_, 0, args_.batch, 0, job_.channels);
            if (twice) {
                job_.writes = true;
                job_.partial = nullptr;
                run_stretches();
            }
        }
        if (wants_parameters_) fold_parameter_gradients(job_);
    }

  private:
    Args args_;
    genfuse_conv_norm_act_args read_args_{};
    ConvJob read_{};
    GradientJob job_{};
    std::vector<int64_t> ends_;
    bool wants_parameters_, keeps_ = false;
    double *mean_ = nullptr, *rstd_ = nullptr;
    float* folded_ = nullptr;  // scale and offset, (N, C) each
    float *scale_ = nullptr, *offset_ = nullptr, *centre_ = nullptr;
    float *pixel_scale_ = nullptr, *pixel_offset_ = nullptr;
    size_t bytes_ = 0;

    void run_units(void (*unit)(const GradientJob&, int64_t, int), int64_t units) const {
        run_slots(unit, job_, units, args_.threads);
    }

    bool is_pixel_norm() const { return args_.prologue.kind == GENFUSE_NORM_PIXEL; }

    void run_stretches() const {
        const int64_t parts = ceil_divide(gradient_blocks(job_), job_.blocks_a_unit);
        run_units(GENFUSE_KERNEL(gradient_stretch_unit), args_.batch * job_.stretches * parts);
    }

    // Short rows are pieces of a sum together, and one long row where no image has a gap between them: the
    // same sums either way. A norm per pixel has its own.
    void join_rows() {
        int64_t rows = is_pixel_norm() ? 1 : std::clamp<int64_t>(kPiecePixels / args_.width, 1, args_.height);
        while (args_.height % rows) --rows;
        job_.rows_a_piece = rows;
        genfuse_image* const images[] = {&args_.x,          &args_.skip,          &args_.gradient,
                                         &args_.x_gradient, &args_.skip_gradient, &args_.x_added,
                                         &args_.skip_added};
        for (const genfuse_image* image : images) {
            if (image->data && image->stride_h != args_.width * pixel_stride_of(*image)) return;
        }
        for (genfuse_image* image : images) image->stride_h *= rows;
        args_.height /= rows;
        args_.width *= rows;
        job_.rows_a_piece = 1;
    }

    // Stretches and sets, and each slot's memory.
    void cut() {
        const int64_t row = args_.width * kBlock, blocks = gradient_blocks(job_);
        const int64_t pixels = is_pixel_norm() ? kAllChannelsPixels : kStretchPixels;
        job_.padded = blocks * kBlock;
        job_.rows_a_stretch = std::clamp<int64_t>(
            pixels / (args_.width * job_.rows_a_piece) * job_.rows_a_piece, job_.rows_a_piece, args_.height);
        job_.stretches = ceil_divide(args_.height, job_.rows_a_stretch);
        job_.blocks_together = args_.x.layout == GENFUSE_PLANAR ? 1 : kMostTogether;
        const int64_t share = args_.batch * job_.stretches * blocks / (kUnitsAThread * args_.threads);
        job_.blocks_a_unit = std::clamp<int64_t>(share, 1, job_.blocks_together);
        job_.memory_a_slot = (is_pixel_norm() ? 2 + 2 * blocks : 3) * row;
        if (job_.total) cut_sets(blocks, row);
    }

    // Blocks that hold whole sets go together, and as many of them as fit, where that leaves units enough.
    void cut_sets(int64_t blocks, int64_t row) {
        const bool batch = args_.prologue.kind == GENFUSE_NORM_BATCH;
        const int64_t size = batch ? 1 : job_.channels / args_.prologue.groups;
        job_.samples_a_set = batch ? args_.batch : 1;
        const int64_t kept = 2 * job_.samples_a_set * args_.height * row;  // of a block
        const int64_t fit = kKeptBytes / (kept * static_cast<int64_t>(sizeof(float)));
        const int64_t share = args_.batch / job_.samples_a_set * blocks / (kUnitsAThread * args_.threads);
        const int64_t wanted = std::min({fit, share, job_.blocks_together});
        int64_t begin = 0, whole = 0, largest = 0;
        for (int64_t block = 0; block < blocks; ++block) {
            const GradientBlock at = gradient_block(job_, block);
            if ((at.c + at.lanes) % size) continue;
            if (whole > begin && block + 1 - begin > wanted) {
                ends_.push_back(whole);
                begin = whole;
            }
            whole = block + 1;
            largest = std::max(largest, whole - begin);
        }
        ends_.push_back(blocks);
        job_.ends = ends_.data();
        job_.parts = static_cast<int64_t>(ends_.size());
        keeps_ = largest <= fit;
        if (keeps_) job_.memory_a_slot = row + kept * largest;
    }

    // Lays out the arena; without memory, counts what it takes.
    void carve(void* memory) {
        Carver carver(memory);
        const int64_t all = args_.batch * job_.channels;
        mean_ = carver.take<double>(all);
        rstd_ = carver.take<double>(all);
        folded_ = carver.take<float>(2 * all);
        const int64_t padded = args_.batch * job_.padded;
        scale_ = carver.take<float>(padded);
        offset_ = carver.take<float>(padded);
        centre_ = carver.take<float>(padded);
        if (job_.total) {
            job_.tilt = carver.take<float>(padded);
            job_.constant = carver.take<float>(padded);
        }
        if (job_.total || wants_parameters_) {
            job_.sums = carver.take<double>(2 * all);
            if (!keeps_) job_.partial = carver.take<double>(2 * all * job_.stretches);
        }
        if (is_pixel_norm()) {
            pixel_scale_ = carver.take<float>(args_.batch * args_.height * args_.width);
            pixel_offset_ = carver.take<float>(args_.batch * args_.height * args_.width);
        }
        job_.memory = carver.take<float>(job_.memory_a_slot * args_.threads);
        bytes_ = carver.used();
    }

    void prepare_norm() {
        const genfuse_prologue& prologue = args_.prologue;
        const int64_t all = args_.batch * job_.channels, padded = args_.batch * job_.padded;
        if (job_.sums) std::fill_n(job_.sums, 2 * all, 0.0);
        if (job_.partial) std::fill_n(job_.partial, 2 * all * job_.stretches, 0.0);
        for (float* const of_blocks : {scale_, offset_, centre_, job_.tilt, job_.constant}) {
            if (of_blocks) std::fill_n(of_blocks, padded, 0.0f);
        }
        fold_normalisation(prologue, prologue.stats, args_.batch, job_.channels, folded_, folded_ + all);
        each_norm(prologue, prologue.stats, args_.batch, job_.channels,
                  [&](int64_t n, int64_t c, double mean, double rstd) {
                      const int64_t k = n * job_.channels + c;
                      const int64_t to = n * job_.padded + padded_place(job_, c);
                      mean_[k] = mean;
                      rstd_[k] = rstd;
                      scale_[to] = folded_[k];
                      offset_[to] = folded_[all + k];
                      centre_[to] = static_cast<float>(mean);
                  });
        job_.scale = scale_;
        job_.offset = offset_;
        job_.centre = centre_;
        job_.mean = mean_;
        job_.rstd = rstd_;
        if (!is_pixel_norm()) return;
        read_.memory = job_.memory;
        read_.memory_a_slot = job_.memory_a_slot;
        StatisticsJob statistics = statistics_of(read_);
        statistics.pixel_scale = pixel_scale_;
        statistics.pixel_offset = pixel_offset_;
        run_slots(GENFUSE_KERNEL(pixel_statistics_unit), statistics, args_.batch * args_.height,
                  args_.threads);
        read_.pixel_scale = pixel_scale_;
        read_.pixel_offset = pixel_offset_;
    }

    // Sums of the stretches, in their order.
    void merge_partial() const {
        if (!job_.partial) return;
        const int64_t count = 2 * job_.channels;
        for (int64_t part = 0; part < args_.batch * job_.stretches; ++part) {
            double* const sums = job_.sums + part / job_.stretches * count;
            for (int64_t i = 0; i < count; ++i) sums[i] += job_.partial[part * count + i];
        }
    }
};

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_prologue_gradient(const genfuse_prologue_gradient_args* args,
                                         genfuse_message* message) {
    using namespace genfuse;
    const genfuse_status status = check(*args, message);
    if (status != GENFUSE_OK) return status;
    try {
        Call(*args).run();
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in prologue_gradient");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
