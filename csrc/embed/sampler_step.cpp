// One step of a sampler: checked as a whole, then at most two kernels.
#include "embed/call.h"
#include "embed/sampler.h"
#include "philox_normal/params.h"
#include "sampler_reduce/params.h"
#include "sampler_step/params.h"

using namespace genfuse;

namespace {

// The addresses from a tensor's lowest element to behind its highest.
struct Extent {
    uintptr_t begin, end;
};

Extent extent_of(const char* name, const genfuse_shape& shape, const genfuse_tensor& tensor, size_t item) {
    int64_t low = 0, high = 0, reach;
    for (int axis = 0; axis < shape.axes; ++axis) {
        int64_t& end = tensor.stride[axis] < 0 ? low : high;
        if (__builtin_mul_overflow(shape.size[axis] - 1, tensor.stride[axis], &reach) ||
            __builtin_add_overflow(end, reach, &end) || end > INT64_MAX / 16 || end < INT64_MIN / 16) {
            refuse("%s has stride %lld on axis %d, which no memory has", name,
                   static_cast<long long>(tensor.stride[axis]), axis);
        }
    }
    const uintptr_t data = reinterpret_cast<uintptr_t>(tensor.data);
    return {data + static_cast<uintptr_t>(low) * item, data + static_cast<uintptr_t>(high + 1) * item};
}

bool same(const genfuse_shape& shape, const genfuse_tensor& a, const genfuse_tensor& b) {
    for (int axis = 0; axis < shape.axes; ++axis) {
        if (shape.size[axis] > 1 && a.stride[axis] != b.stride[axis]) return false;
    }
    return a.data == b.data;
}

}  // namespace

void genfuse_sampler::check_memory(const genfuse_step_inputs& inputs, const genfuse_tensor& out) const {
    const struct {
        const char* name;
        const genfuse_tensor& tensor;
    } read[] = {{"x", inputs.x},           {"model_output", inputs.model_output},
                {"uncond", inputs.uncond}, {"variance", inputs.variance},
                {"noise", inputs.noise},   {"noise_prev", inputs.noise_prev}};
    for (int i = 0; i < 2; ++i) {
        if (!read[i].tensor.data)
            refuse("%s is absent, expected a tensor of the sampler's shape", read[i].name);
    }
    const Extent written = extent_of("out", shape_, out, item_);
    for (const auto& input : read) {
        if (!input.tensor.data) continue;
        const Extent extent = extent_of(input.name, shape_, input.tensor, item_);
        const bool apart = written.end <= extent.begin || extent.end <= written.begin;
        if (!apart && !same(shape_, out, input.tensor)) {
            refuse("out overlaps %s in memory without being the same tensor; pass a copy", input.name);
        }
    }
}

void genfuse_sampler::step(int64_t i, const genfuse_step_inputs& inputs) {
    const int64_t samples = shape_.size[0];
    if (!begun_) refuse("the sampler has not begun, expected genfuse_sampler_begin before its first step");
    if (!inputs.rows) check_row(i);
    bool reduces = false;
    for (int64_t n = 0; n < samples; ++n) {
        const int64_t row = inputs.rows ? inputs.rows[n] : i;
        check_row(row);
        reduces = reduces || reduces_[static_cast<size_t>(row)];
        if (reads_[static_cast<size_t>(row)] & ~written_[static_cast<size_t>(n)]) {
            refuse(
                "row %lld reads what earlier rows store, but they have not run on sample %lld since it "
                "began; take the rows in order",
                static_cast<long long>(row), static_cast<long long>(n));
        }
    }
    if (elements() > 0) run(i, inputs, reduces);
    for (int64_t n = 0; n < samples; ++n) {
        written_[static_cast<size_t>(n)] |= stores_[static_cast<size_t>(inputs.rows ? inputs.rows[n] : i)];
    }
}

// The kernels of a step whose rows are right.
void genfuse_sampler::run(int64_t i, const genfuse_step_inputs& inputs, bool reduces) {
    const genfuse_tensor& out = inputs.out.data ? inputs.out : inputs.x;
    check_memory(inputs, out);
    if (nothing_stored()) place_history(inputs.x);
    if (reduces) reduce(i, inputs);

    genfuse_sampler_step_args args{};
    args.shape = shape_;
    args.out = out;
    args.x = inputs.x;
    args.model_output = inputs.model_output;
    args.uncond = inputs.uncond;
    args.variance = inputs.variance;
    args.noise = inputs.noise;
    args.noise_prev = inputs.noise_prev;
    args.history_slots = slots_;
    for (int slot = 0; slot < slots_; ++slot) args.history[slot] = slot_[slot];
    args.table = table_.rows.data();
    args.rows = table_.size();
    args.row = i;
    args.index = inputs.rows;
    args.seeds = seeds_.data();
    args.stream = GENFUSE_STREAM_STEP;
    args.scales = reduces ? scales_.get() : nullptr;
    args.threads = threads_;
    call<genfuse_sampler_step_args>(genfuse_sampler_step, args);
}

// What guidance rescale and dynamic threshold need of each sample before the step.
void genfuse_sampler::reduce(int64_t i, const genfuse_step_inputs& inputs) const {
    genfuse_sampler_reduce_args args{};
    args.shape = shape_;
    args.x = inputs.x;
    args.model_output = inputs.model_output;
    args.uncond = inputs.uncond;
    args.table = table_.rows.data();
    args.rows = table_.size();
    args.row = i;
    args.index = inputs.rows;
    args.scales = scales_.get();
    args.threads = threads_;
    call(genfuse_sampler_reduce, args);
}
