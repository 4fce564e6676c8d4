#include "embed/sampler.h"

#include <sched.h>

#include "common/layout.h"
#include "common/message.h"
#include "embed/call.h"
#include "embed/settings.h"
#include "philox_normal/params.h"
#include "sampler_step/params.h"
#include "samplers/registry.h"

namespace genfuse {
namespace {

using samplers::Array;
using samplers::Table;

constexpr int64_t kMostElements = int64_t{1} << 59;
constexpr int64_t kMostSteps = 1000000;
constexpr size_t kItem[] = {4, 8, 2, 2};

samplers::Clip clip_of(const genfuse_sampler_options& options) {
    const samplers::Clip clip{options.clip_minimum, options.clip_maximum, options.clip_quantile,
                              options.threshold_max};
    if (!(clip.minimum < clip.maximum && clip.quantile >= 0 && clip.quantile <= 1 &&
          clip.threshold_max >= 1)) {
        refuse(
            "clip is %g to %g, quantile %g, threshold_max %g; expected minimum < maximum, a quantile in "
            "[0, 1] and threshold_max >= 1",
            clip.minimum, clip.maximum, clip.quantile, clip.threshold_max);
    }
    return clip;
}

Array array_of(const char* name, const double* values, int64_t count) {
    if (!values) return {};
    if (count < 0 || count > kMostSteps) {
        refuse("%s_count is %lld, expected 1 to %lld", name, static_cast<long long>(count),
               static_cast<long long>(kMostSteps));
    }
    return Array(values, values + count);
}

samplers::Nodes nodes_of(const genfuse_sampler_options& options) {
    const int given = (options.spacing != nullptr) + (options.timesteps != nullptr) +
                      (options.sigmas != nullptr || options.sigma_levels != nullptr);
    if (given > 1 || (options.sigmas && options.sigma_levels)) {
        refuse("more than one of spacing, timesteps, sigmas and sigma_levels is given, expected at most one");
    }
    samplers::Nodes nodes;
    nodes.spacing = options.spacing;
    nodes.sigma_kind = options.sigmas;
    nodes.timesteps = array_of("timestep", options.timesteps, options.timestep_count);
    nodes.sigmas = array_of("sigma_level", options.sigma_levels, options.sigma_level_count);
    nodes.given_timesteps = options.timesteps != nullptr;
    nodes.given_sigmas = options.sigma_levels != nullptr;
    return nodes;
}

// The last share of the nodes.
samplers::Grid last_part(const samplers::Grid& grid, double strength) {
    if (!(strength > 0 && strength <= 1)) {
        refuse("strength is %g, expected more than 0 and at most 1", strength);
    }
    const double kept = static_cast<double>(grid.steps()) * strength;
    const int64_t first = grid.steps() - samplers::most(1, static_cast<int64_t>(kept));
    const auto from = [&](const Array& values) { return Array(values.begin() + first, values.end()); };
    return samplers::Grid(from(grid.timesteps), from(grid.alpha), from(grid.sigma));
}

}  // namespace

int32_t threads_of(int32_t given) {
    if (given < 0) refuse("threads is %d, expected at least 1, or 0 for all cores", given);
    if (given > 0) return given < 256 ? given : 256;
    cpu_set_t cores;
    const int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    return count > 0 ? count : 1;
}

// The product of the sizes from the first axis on; zeros count as one, so that no product overflows later.
int64_t checked_elements(const genfuse_shape& shape) {
    genfuse_message message{};
    if (check_shape(shape, &message) != GENFUSE_OK) refuse("%s", message.text);
    int64_t elements = 1;
    for (int axis = 0; axis < shape.axes; ++axis) {
        const int64_t size = shape.size[axis] > 0 ? shape.size[axis] : 1;
        if (size > kMostElements / elements) refuse("shape has more than 2**59 elements, expected fewer");
        elements *= size;
    }
    return elements;
}

}  // namespace genfuse

using namespace genfuse;

genfuse_sampler::genfuse_sampler(const char* name, int64_t steps, const genfuse_shape& shape,
                                 const genfuse_sampler_options& options)
    : shape_(shape), threads_(threads_of(options.threads)) {
    checked_elements(shape);
    numel_ = sample_numel(shape);
    item_ = kItem[shape.dtype];
    if (steps > kMostSteps) {
        refuse("steps is %lld, expected at most %lld", static_cast<long long>(steps),
               static_cast<long long>(kMostSteps));
    }
    if (!isfinite(options.guidance)) refuse("guidance is %g, expected a finite number", options.guidance);
    if (!(options.guidance_rescale >= 0 && options.guidance_rescale <= 1)) {
        refuse("guidance_rescale is %g, expected a number in [0, 1]", options.guidance_rescale);
    }
    const samplers::Solver& solver = samplers::solver(name);
    const auto levels = levels_of(completed(options.schedule, genfuse_schedule_init, "genfuse_schedule"));
    const samplers::Grid grid = last_part(levels->grid(steps, nodes_of(options)), options.strength);
    samplers::Options own(options.options, options.option_count, solver.presets);
    own.tau = options.tau;
    own.tau_context = options.tau_context;
    table_ = solver.table(grid, options.prediction, *levels, clip_of(options), own);
    table_.set(GENFUSE_COLUMN_guidance, options.guidance);
    table_.set(GENFUSE_COLUMN_rescale, options.guidance_rescale);

    Table forward;
    Array sigmas;
    const bool on_nodes = table_.size() == grid.steps();
    for (int64_t i = 0; i < table_.size(); ++i) {
        const size_t at = static_cast<size_t>(i);
        const samplers::Ends level =
            on_nodes ? samplers::Ends{grid.alpha[at], grid.sigma[at]} : levels->at(table_.timesteps[at]);
        forward.add(0.0, {}, samplers::X * level.alpha + samplers::NOISE * level.sigma, {});
        sigmas.push_back(level.sigma);
    }
    forward.check();
    forward_rows_ = forward.rows;
    levels->scale(&table_, sigmas);
    allocate();
}

void genfuse_sampler::allocate() {
    slots_ = table_.history_slots();
    for (int64_t i = 0; i < table_.size(); ++i) {
        const double* const row = table_.row(i);
        unsigned reads = 0;
        for (int slot = 0; slot < GENFUSE_HISTORY_SLOTS; ++slot) {
            const bool live = row[GENFUSE_COLUMN_y_h0 + slot] != 0 || row[GENFUSE_COLUMN_s_h0 + slot] != 0;
            reads |= static_cast<unsigned>(live) << slot;
        }
        const int stored = static_cast<int>(row[GENFUSE_COLUMN_store]);
        reads_.push_back(static_cast<unsigned char>(reads));
        stores_.push_back(static_cast<unsigned char>(stored >= 0 ? 1u << stored : 0));
        reduces_.push_back(row[GENFUSE_COLUMN_rescale] != 0 || row[GENFUSE_COLUMN_quantile] != 0);
    }
    const size_t samples = static_cast<size_t>(shape_.size[0]), numel = static_cast<size_t>(numel_);
    seeds_.assign(samples, 0);
    written_.assign(samples, 0);
    scales_.reset(new double[2 * samples]);
    if (slots_ == 0) return;
    const size_t bytes = samples * numel * item_;
    if (bytes > static_cast<size_t>(PTRDIFF_MAX) / GENFUSE_HISTORY_SLOTS) throw std::bad_alloc();
    history_.reset(new unsigned char[static_cast<size_t>(slots_) * bytes]);
    for (int slot = 0; slot < slots_; ++slot) {
        genfuse_contiguous(&shape_, history_.get() + static_cast<size_t>(slot) * bytes, &slot_[slot]);
    }
}

void genfuse_sampler::check_row(int64_t i) const {
    if (i >= 0 && i < table_.size()) return;
    refuse("i is %lld, expected a row of the table in [0, %lld)", static_cast<long long>(i),
           static_cast<long long>(table_.size()));
}

void genfuse_sampler::begin(const int64_t* seeds, const void* x0, void* x) {
    const int64_t samples = shape_.size[0];
    if (x0) {
        add_noise(0, seeds, x0, x);
    } else if (x) {
        draw(seeds, samples, x);
    }
    seeds_.assign(seeds, seeds + samples);
    written_.assign(written_.size(), 0);
    begun_ = true;
}

void genfuse_sampler::begin_sample(int64_t n, int64_t seed, void* x) {
    if (n < 0 || n >= shape_.size[0]) {
        refuse("n is %lld, expected a sample of the batch in [0, %lld)", static_cast<long long>(n),
               static_cast<long long>(shape_.size[0]));
    }
    if (x) draw(&seed, 1, static_cast<char*>(x) + static_cast<size_t>(n * numel_) * item_);
    seeds_[static_cast<size_t>(n)] = seed;
    written_[static_cast<size_t>(n)] = 0;
    begun_ = true;
}

// What a run begins with, of `count` samples at x.
void genfuse_sampler::draw(const int64_t* seeds, int64_t count, void* x) const {
    genfuse_philox_normal_args args{};
    args.shape = shape_;
    args.shape.size[0] = count;
    genfuse_contiguous(&args.shape, x, &args.out);
    args.seeds = seeds;
    args.stream = GENFUSE_STREAM_INIT;
    args.threads = threads_;
    call(genfuse_philox_normal, args);
    if (table_.init_scale != 1) scale(table_.init_scale, args.shape, x, x);
}

// to = factor·from, by a row that does just that.
void genfuse_sampler::scale(double factor, const genfuse_shape& shape, const void* from, void* to) const {
    double row[GENFUSE_ROW] = {};
    row[GENFUSE_COLUMN_clip_min] = -HUGE_VAL;
    row[GENFUSE_COLUMN_clip_max] = HUGE_VAL;
    row[GENFUSE_COLUMN_threshold_max] = row[GENFUSE_COLUMN_guidance] = 1;
    row[GENFUSE_COLUMN_store] = -1;
    row[GENFUSE_COLUMN_y_x] = factor;
    genfuse_sampler_step_args args{};
    args.shape = shape;
    genfuse_contiguous(&shape, const_cast<void*>(from), &args.x);
    genfuse_contiguous(&shape, to, &args.out);
    args.table = row;
    args.rows = 1;
    args.threads = threads_;
    call<genfuse_sampler_step_args>(genfuse_sampler_step, args);
}

void genfuse_sampler::scale_input(int64_t i, const void* x, void* seen) const {
    check_row(i);
    scale(table_.input_scale[static_cast<size_t>(i)], shape_, x, seen);
}

void genfuse_sampler::add_noise(int64_t i, const int64_t* seeds, const void* x0, void* noisy) const {
    check_row(i);
    genfuse_sampler_step_args args{};
    args.shape = shape_;
    genfuse_contiguous(&shape_, const_cast<void*>(x0), &args.x);
    genfuse_contiguous(&shape_, noisy, &args.out);
    args.table = forward_rows_.data();
    args.rows = table_.size();
    args.row = i;
    args.seeds = seeds;
    args.stream = GENFUSE_STREAM_FORWARD;
    args.threads = threads_;
    call<genfuse_sampler_step_args>(genfuse_sampler_step, args);
}

bool genfuse_sampler::nothing_stored() const {
    for (const unsigned char written : written_) {
        if (written) return false;
    }
    return true;
}

// History in the sample's own memory order where that is dense: the kernel then runs through all of them
// alike.
void genfuse_sampler::place_history(const genfuse_tensor& like) {
    const Layout layout = sample_layout(shape_, like.stride);
    const bool dense = like.stride[0] == numel_ && permuted_dense(layout, numel_);
    for (int slot = 0; slot < slots_; ++slot) {
        genfuse_contiguous(&shape_, slot_[slot].data, &slot_[slot]);
        if (dense) memcpy(slot_[slot].stride, like.stride, sizeof like.stride);
    }
}
