/* Any bytes, read as a schedule, options, a shape and a run: nothing may crash, and what is accepted gives no
 * NaN. ../run.sh builds it; -DREPLAY makes a program without a fuzzer:
 *
 *     sampler COUNT FILES    each file, and COUNT changes of it
 */
#include <genfuse.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t* data;
    size_t size;
} bytes;

static void take(bytes* from, void* to, size_t size) {
    const size_t there = size < from->size ? size : from->size;
    memset(to, 0, size);
    memcpy(to, from->data, there);
    from->data += there;
    from->size -= there;
}

static uint8_t byte(bytes* from) {
    uint8_t value;
    take(from, &value, 1);
    return value;
}

/* A number: mostly a plain one, sometimes any bits. */
static double number(bytes* from) {
    const uint8_t kind = byte(from);
    double value;
    if (kind < 160) return kind / 16.0;
    if (kind < 224) return (kind - 192) * 37.5;
    take(from, &value, sizeof value);
    return value;
}

static const char* one_of(bytes* from, const char* const* names, size_t count) {
    return names[byte(from) % count];
}

static const char* const schedules[] = {
    "linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp", "flow", "edm", "", "what"};
static const char* const options_known[] = {"eta",
                                            "order",
                                            "algorithm",
                                            "solver_type",
                                            "curvature",
                                            "lower_order_final",
                                            "s_churn",
                                            "s_tmin",
                                            "s_tmax",
                                            "s_noise",
                                            "churn",
                                            "variance_type",
                                            "final_noise",
                                            "predict_x0",
                                            "variant",
                                            "disable_corrector",
                                            "predictor_order",
                                            "corrector_order",
                                            "parametrization",
                                            "timestep_scaling",
                                            "sigma_data",
                                            "euler_at_final",
                                            "use_clipped_model_output",
                                            "nothing"};
static const char* const texts[] = {"dpmsolver", "sde-dpmsolver++",  "heun",     "diffusers", "learned_range",
                                    "bh1",       "noise_prediction", "midpoint", ""};
static const char* const predictions[] = {"epsilon", "v_prediction", "sample", "flow_prediction", "x"};
static const char* const spacings[] = {"trailing", "linspace", "leading", "?"};
static const char* const sigmas[] = {"karras", "exponential", "beta", "lu", "k"};
#define ONE_OF(from, names) one_of(from, names, sizeof(names) / sizeof *(names))

enum { MOST = 4096 };

static double values[256];
static genfuse_option own[4];

static void fill_schedule(bytes* from, genfuse_schedule* schedule) {
    const uint8_t kind = byte(from);
    size_t i;
    genfuse_schedule_init(schedule, sizeof *schedule);
    schedule->name = ONE_OF(from, schedules);
    if (kind & 1) schedule->num_train_timesteps = byte(from) * (kind & 2 ? 9 : 1);
    if (kind & 4) schedule->beta_start = number(from), schedule->beta_end = number(from);
    schedule->zero_terminal_snr = kind >> 3 & 1;
    schedule->finite_sigmas = kind >> 4 & 1;
    if (kind & 32)
        schedule->sigma_min = number(from), schedule->sigma_max = number(from), schedule->rho = number(from);
    if ((kind & 192) == 192) {
        schedule->num_train_timesteps = byte(from);
        for (i = 0; i < 256; ++i) values[i] = number(from);
        *(kind & 1 ? &schedule->betas : &schedule->alphas_cumprod) = values;
    }
}

static void fill_options(bytes* from, genfuse_sampler_options* options) {
    const uint8_t kind = byte(from), more = byte(from);
    static double nodes[8];
    int i;
    genfuse_sampler_options_init(options, sizeof *options);
    if (kind & 1) options->prediction = ONE_OF(from, predictions);
    if (kind & 2) options->clip_minimum = -number(from), options->clip_maximum = number(from);
    if (kind & 4) options->clip_quantile = number(from) / 8, options->threshold_max = number(from);
    if (kind & 8) options->guidance = number(from), options->guidance_rescale = number(from) / 8;
    if (kind & 16) options->spacing = ONE_OF(from, spacings);
    if (kind & 32) options->sigmas = ONE_OF(from, sigmas);
    if (kind & 64) options->strength = number(from);
    for (i = 0; i < 8 && more & 3; ++i) nodes[i] = number(from);
    if (more & 1) options->timesteps = nodes, options->timestep_count = more >> 2 & 7;
    if (more & 2) options->sigma_levels = nodes, options->sigma_level_count = more >> 2 & 7;
    options->option_count = more >> 5 & 3;
    options->options = own;
    for (i = 0; i < options->option_count; ++i) {
        own[i].name = ONE_OF(from, options_known);
        own[i].number = number(from);
        own[i].text = byte(from) & 1 ? ONE_OF(from, texts) : NULL;
    }
    options->threads = 1 + (kind >> 7);
}

/* Elements of a shape that is small enough to be run, else -1. */
static int64_t elements(const genfuse_shape* shape) {
    int64_t count = 1;
    int axis;
    for (axis = 0; axis < shape->axes; ++axis) {
        if (shape->size[axis] < 0 || shape->size[axis] > MOST) return -1;
        count *= shape->size[axis];
        if (count > MOST) return -1;
    }
    return count;
}

static void run(bytes* from, genfuse_sampler* sampler, const genfuse_shape* shape) {
    const int64_t count = elements(shape);
    const double* const table = genfuse_sampler_table(sampler);
    const int64_t rows = genfuse_sampler_rows(sampler) < 64 ? genfuse_sampler_rows(sampler) : 64;
    const size_t item = shape->dtype == GENFUSE_FLOAT64 ? 8 : shape->dtype == GENFUSE_FLOAT32 ? 4 : 2;
    const uint8_t kind = byte(from);
    int64_t i, k, seeds[MOST];
    int tame = shape->dtype == GENFUSE_FLOAT32;
    if (count < 0 || shape->size[0] > MOST) return;
    char* const x =
        calloc((size_t)count + 1, item); /* exact sizes: AddressSanitizer sees one element too many */
    char* const output = calloc((size_t)count + 1, item);
    char* const uncond = calloc((size_t)count + 1, item);
    for (i = 0; i < shape->size[0]; ++i) take(from, &seeds[i], sizeof seeds[i]);
    if (genfuse_sampler_begin(sampler, seeds, x) != GENFUSE_OK) abort();
    for (i = 0; i < rows; ++i) {
        genfuse_step_inputs inputs;
        const int64_t row = kind & 1 ? byte(from) : i;
        genfuse_step_inputs_init(&inputs, sizeof inputs);
        memcpy(output, x, (size_t)count * item);
        genfuse_contiguous(shape, x, &inputs.x);
        genfuse_contiguous(shape, output, &inputs.model_output);
        if (kind & 2) genfuse_contiguous(shape, uncond, &inputs.uncond);
        if (kind & 4) genfuse_contiguous(shape, uncond, &inputs.variance);
        if (kind & 8) inputs.out = inputs.model_output;
        if (genfuse_sampler_step_with(sampler, row, &inputs) != GENFUSE_OK) tame = 0;
        for (k = 0; k < GENFUSE_TABLE_COLUMNS && row < rows; ++k) {
            const double value = fabs(table[row * GENFUSE_TABLE_COLUMNS + k]);
            if (value > 30 && !isinf(value)) tame = 0;
        }
        for (k = 0; tame && k < count && i < 12; ++k) {
            if (isnan(((const float*)x)[k])) abort();
        }
    }
    free(x);
    free(output);
    free(uncond);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    bytes from = {data, size};
    genfuse_schedule schedule;
    genfuse_sampler_options options;
    genfuse_shape shape;
    genfuse_sampler* sampler;
    int64_t steps;
    int axis;
    const char* name = genfuse_sampler_name(byte(&from) % 30);
    fill_schedule(&from, &schedule);
    fill_options(&from, &options);
    options.schedule = &schedule;
    memset(&shape, 0, sizeof shape);
    shape.dtype = byte(&from) % 5;
    shape.axes = byte(&from) % 6;
    for (axis = 0; axis < 5; ++axis) {
        const uint8_t size_of_axis = byte(&from);
        const double wide = size_of_axis < 250 ? size_of_axis % 9 : number(&from) * 1e15;
        shape.size[axis] = fabs(wide) < 9e18 ? (int64_t)wide : INT64_MIN; /* NaN is no size */
    }
    if (elements(&shape) < 0) shape.size[0] = 0; /* no gigabytes */
    steps = (int8_t)byte(&from);
    if (genfuse_sampler_create(&sampler, name ? name : "none", steps, &shape, &options) != GENFUSE_OK) {
        if (sampler || !*genfuse_last_error()) abort();
        return 0;
    }
    run(&from, sampler, &shape);
    genfuse_sampler_free(sampler);
    return 0;
}

#ifdef REPLAY
int main(int count, char** arguments) {
    static uint8_t data[4096], changing[4096];
    uint32_t state = 1;
    const long changed = count > 1 ? atol(arguments[1]) : 0;
    int i;
    for (i = 2; i < count; ++i) {
        FILE* const file = fopen(arguments[i], "rb");
        const size_t size = file ? fread(data, 1, sizeof data, file) : 0;
        long k;
        if (!file) return 1;
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
        for (k = 0; k < changed && size > 0; ++k) {
            long spot;
            memcpy(changing, data, size);
            for (spot = 0; spot <= k % 4; ++spot) {
                state = state * 1664525u + 1013904223u;
                changing[(state >> 8) % size] = (uint8_t)(state >> 24);
            }
            LLVMFuzzerTestOneInput(changing, size);
        }
    }
    printf("%d files\n", count - 2);
    return 0;
}
#endif
