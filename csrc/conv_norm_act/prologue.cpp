#include "conv_norm_act/prologue.h"

#include "common/dispatch.h"
#include "conv_norm_act/statistics.h"

namespace genfuse {
namespace {

bool measures(const genfuse_prologue& prologue) {
    return (prologue.kind == GENFUSE_NORM_BATCH || prologue.kind == GENFUSE_NORM_GROUP) && !prologue.stats;
}

bool has_affine(const genfuse_prologue& prologue) {
    return (prologue.kind != GENFUSE_NORM_NONE && prologue.kind != GENFUSE_NORM_PIXEL) || prologue.weight ||
           prologue.bias || prologue.film_scale;
}

}  // namespace

void Prologue::carve(Carver& carver, const genfuse_conv_norm_act_args& args, int64_t channels) {
    const int64_t values = args.batch * channels, pixels = args.batch * args.height * args.width;
    if (measures(args.prologue)) stats_ = carver.take<float>(values * 2);
    if (has_affine(args.prologue)) {
        scale_ = carver.take<float>(values);
        offset_ = carver.take<float>(values);
    }
    if (args.prologue.kind == GENFUSE_NORM_PIXEL) {
        pixel_scale_ = carver.take<float>(pixels);
        pixel_offset_ = carver.take<float>(pixels);
    }
}

void Prologue::prepare(ConvJob& job) const {
    const genfuse_conv_norm_act_args& args = *job.args;
    StatisticsJob statistics = statistics_of(job);
    if (measures(args.prologue)) {
        statistics.stats = stats_;
        const int64_t units = deal_statistics(statistics, args.threads);
        run_slots(GENFUSE_KERNEL(statistics_unit), statistics, units, args.threads);
    }
    if (args.prologue.kind == GENFUSE_NORM_PIXEL) {
        statistics.pixel_scale = pixel_scale_;
        statistics.pixel_offset = pixel_offset_;
        run_slots(GENFUSE_KERNEL(pixel_statistics_unit), statistics, args.batch * args.height, args.threads);
        job.pixel_scale = pixel_scale_;
        job.pixel_offset = pixel_offset_;
    }
    if (has_affine(args.prologue)) {
        fold_normalisation(args.prologue, measures(args.prologue) ? stats_ : args.prologue.stats, args.batch,
                           job.in_channels, scale_, offset_);
        job.scale = scale_;
        job.offset = offset_;
    }
}

}  // namespace genfuse
