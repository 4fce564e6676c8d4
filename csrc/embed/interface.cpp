// The functions of genfuse.h that are about samplers and noise.
#include <new>

#include "embed/call.h"
#include "embed/guarded.h"
#include "embed/sampler.h"
#include "embed/settings.h"
#include "philox_normal/params.h"
#include "samplers/registry.h"

using genfuse::guarded;
using genfuse::refuse;

namespace {

void require(const void* pointer, const char* name) {
    if (!pointer) refuse("%s is NULL", name);
}

// Memory of a batch; an empty one has none.
void require_batch(const genfuse_sampler& sampler, const void* data, const char* name) {
    if (sampler.elements() > 0) require(data, name);
}

void require_seeds(const genfuse_sampler& sampler, const int64_t* seeds) {
    if (sampler.shape().size[0] > 0) require(seeds, "seeds");
}

}  // namespace

void genfuse_sampler_options_init(genfuse_sampler_options* options, size_t size) {
    genfuse_sampler_options defaults{};
    defaults.size = size < sizeof defaults ? size : sizeof defaults;
    defaults.clip_minimum = -HUGE_VAL;
    defaults.clip_maximum = HUGE_VAL;
    defaults.threshold_max = 1;
    defaults.guidance = 1;
    defaults.strength = 1;
    if (options) memcpy(options, &defaults, defaults.size);
}

void genfuse_step_inputs_init(genfuse_step_inputs* inputs, size_t size) {
    genfuse_step_inputs nothing{};
    nothing.size = size < sizeof nothing ? size : sizeof nothing;
    if (inputs) memcpy(inputs, &nothing, nothing.size);
}

void genfuse_contiguous(const genfuse_shape* shape, void* data, genfuse_tensor* tensor) {
    *tensor = genfuse_tensor{};
    tensor->data = data;
    int64_t stride = 1;
    for (int axis = shape->axes < GENFUSE_MAX_AXES ? shape->axes : GENFUSE_MAX_AXES; axis-- > 0;) {
        tensor->stride[axis] = stride;
        stride *= shape->size[axis] > 0 ? shape->size[axis] : 1;
    }
}

const char* genfuse_sampler_name(int64_t i) {
    return genfuse::samplers::solver_name(i);
}

genfuse_status genfuse_sampler_create(genfuse_sampler** sampler, const char* name, int64_t steps,
                                      const genfuse_shape* shape, const genfuse_sampler_options* options) {
    if (sampler) *sampler = nullptr;
    return guarded([&] {
        require(sampler, "sampler");
        require(name, "name");
        require(shape, "shape");
        const auto given =
            genfuse::completed(options, genfuse_sampler_options_init, "genfuse_sampler_options");
        *sampler = new genfuse_sampler(name, steps, *shape, given);
    });
}

void genfuse_sampler_free(genfuse_sampler* sampler) {
    delete sampler;
}

int64_t genfuse_sampler_rows(const genfuse_sampler* sampler) {
    return sampler ? sampler->table().size() : 0;
}

const double* genfuse_sampler_timesteps(const genfuse_sampler* sampler) {
    return sampler ? sampler->table().timesteps.data() : nullptr;
}

const double* genfuse_sampler_input_scale(const genfuse_sampler* sampler) {
    return sampler ? sampler->table().input_scale.data() : nullptr;
}

const double* genfuse_sampler_table(const genfuse_sampler* sampler) {
    return sampler ? sampler->table().rows.data() : nullptr;
}

int genfuse_sampler_learned_variance(const genfuse_sampler* sampler) {
    return sampler && sampler->learned_variance();
}

genfuse_status genfuse_sampler_begin(genfuse_sampler* sampler, const int64_t* seeds, void* x) {
    return guarded([&] {
        require(sampler, "sampler");
        require_seeds(*sampler, seeds);
        sampler->begin(seeds, nullptr, x);
    });
}

genfuse_status genfuse_sampler_begin_from(genfuse_sampler* sampler, const int64_t* seeds, const void* x0,
                                          void* x) {
    return guarded([&] {
        require(sampler, "sampler");
        require_seeds(*sampler, seeds);
        require_batch(*sampler, x0, "x0");
        require_batch(*sampler, x, "x");
        sampler->begin(seeds, x0, x);
    });
}

genfuse_status genfuse_sampler_begin_sample(genfuse_sampler* sampler, int64_t n, int64_t seed, void* x) {
    return guarded([&] {
        require(sampler, "sampler");
        sampler->begin_sample(n, seed, x);
    });
}

genfuse_status genfuse_sampler_step_with(genfuse_sampler* sampler, int64_t i,
                                         const genfuse_step_inputs* inputs) {
    return guarded([&] {
        require(sampler, "sampler");
        require(inputs, "inputs");
        sampler->step(i, genfuse::completed(inputs, genfuse_step_inputs_init, "genfuse_step_inputs"));
    });
}

genfuse_status genfuse_sampler_step(genfuse_sampler* sampler, int64_t i, void* x, const void* model_output) {
    return guarded([&] {
        require(sampler, "sampler");
        genfuse_step_inputs inputs;
        genfuse_step_inputs_init(&inputs, sizeof inputs);
        genfuse_contiguous(&sampler->shape(), x, &inputs.x);
        genfuse_contiguous(&sampler->shape(), const_cast<void*>(model_output), &inputs.model_output);
        sampler->step(i, inputs);
    });
}

genfuse_status genfuse_sampler_step_cuda(genfuse_sampler*, int64_t, const genfuse_step_inputs*, void*) {
    return genfuse::report(GENFUSE_UNSUPPORTED,
                           "this libgenfuse has no CUDA kernels; step on the CPU with "
                           "genfuse_sampler_step_with, or use the Python package on the GPU");
}

genfuse_status genfuse_sampler_scale_input(const genfuse_sampler* sampler, int64_t i, const void* x,
                                           void* seen) {
    return guarded([&] {
        require(sampler, "sampler");
        require_batch(*sampler, x, "x");
        require_batch(*sampler, seen, "seen");
        sampler->scale_input(i, x, seen);
    });
}

genfuse_status genfuse_sampler_add_noise(const genfuse_sampler* sampler, int64_t i, const int64_t* seeds,
                                         const void* x0, void* noisy) {
    return guarded([&] {
        require(sampler, "sampler");
        require_seeds(*sampler, seeds);
        require_batch(*sampler, x0, "x0");
        require_batch(*sampler, noisy, "noisy");
        sampler->add_noise(i, seeds, x0, noisy);
    });
}

genfuse_status genfuse_noise(const genfuse_shape* shape, const int64_t* seeds, int64_t row, uint32_t stream,
                             int32_t threads, const genfuse_tensor* out) {
    return guarded([&] {
        require(shape, "shape");
        require(out, "out");
        genfuse::checked_elements(*shape);
        genfuse_philox_normal_args args{};
        args.shape = *shape;
        args.out = *out;
        args.seeds = seeds;
        args.row = row;
        args.stream = stream;
        args.threads = genfuse::threads_of(threads);
        genfuse::call(genfuse_philox_normal, args);
    });
}
