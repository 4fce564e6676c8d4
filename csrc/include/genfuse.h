/* genfuse: diffusion samplers around a network of your own, in C.
 *
 *     genfuse_shape shape = {GENFUSE_FLOAT32, 4, {1, 3, 64, 64}};
 *     genfuse_sampler* sampler;
 *     if (genfuse_sampler_create(&sampler, "dpmpp_2m", 20, &shape, NULL) != GENFUSE_OK) {
 *         fprintf(stderr, "%s\n", genfuse_last_error());
 *         return 1;
 *     }
 *     genfuse_sampler_begin(sampler, seeds, x);
 *     for (i = 0; i < genfuse_sampler_rows(sampler); ++i) {
 *         my_network(x, genfuse_sampler_timesteps(sampler)[i], output);
 *         genfuse_sampler_step(sampler, i, x, output);
 *     }
 *     genfuse_sampler_free(sampler);
 *
 * x is then the picture of that seed: the same whatever else is in the batch, whatever the threads, and bit
 * for bit what genfuse.sample gives in Python on the same machine.
 *
 * Plain C, C++ too; libgenfuse needs nothing but the C library, its mathematics and threads. No function
 * aborts, prints or lets an exception out: functions that can fail return a genfuse_status, and
 * genfuse_last_error() then says in a sentence what was wrong, what was expected and what to do. A call that
 * fails has changed nothing that it was given, unless its description says otherwise.
 *
 * All functions may be called from several threads at once; an object (a handle) is used by one thread at a
 * time. The only state that the library shares between calls is its pool of threads.
 *
 * Structures that may grow begin with their size, as the caller's compiler knows it: genfuse_..._init writes
 * it with every default, and programs go on working with later libraries.
 */
#ifndef GENFUSE_H
#define GENFUSE_H

#include "genfuse_tensor.h"

#if defined(__GNUC__)
#define GENFUSE_API __attribute__((visibility("default")))
#else
#define GENFUSE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The library ---- */

/* "0.1.0". Within a major version functions and fields are added, never changed or taken away. */
GENFUSE_API const char* genfuse_version(void);

/* The instruction set that the kernels use on this processor: "baseline", "avx2", "avx512", ... */
GENFUSE_API const char* genfuse_instruction_set(void);

/* "ok", "invalid argument", ... */
GENFUSE_API const char* genfuse_status_name(genfuse_status status);

/* The message of the calling thread's last call that failed, "" where none has. It is the thread's own, and
 * stays as it is until another of its calls fails. */
GENFUSE_API const char* genfuse_last_error(void);

/* ---- Noise schedules ---- */

/* The levels of noise that a network was trained on. */
typedef struct {
    size_t size; /* sizeof(genfuse_schedule) */
    /* "linear" (Ho et al. 2020), "scaled_linear" (linear in the root of beta; Rombach et al. 2022),
     * "squaredcos_cap_v2" (cosine; Nichol & Dhariwal 2021), "sigmoid" (Xu et al. 2022), "laplace" (Hang et
     * al. 2024), "exp" (alphas_cumprod = exp(-12 t)); "flow": x = (1 - sigma) x0 + sigma noise, the network
     * given 1000 sigma; "edm": x = x0 + sigma noise and the network of Karras et al. 2022, given
     * log(sigma)/4. */
    const char* name;
    int64_t num_train_timesteps;  /* 1 to 10000000; not of "flow" and "edm", which have none */
    double beta_start, beta_end;  /* of "linear", "scaled_linear" and "sigmoid" */
    const double* betas;          /* (num_train_timesteps,) in [0, 1], instead of a name; or NULL */
    const double* alphas_cumprod; /* (num_train_timesteps,) descending in [0, 1], instead of both; or NULL */
    int32_t
        zero_terminal_snr; /* not 0: rescale betas so that the last step has no signal (Lin et al. 2024) */
    int32_t finite_sigmas; /* not 0: the last alphas_cumprod is 2^-24, its sigma finite */
    double sigma_min, sigma_max; /* of "edm": 0 < sigma_min < sigma_max */
    double rho;                  /* of "edm": levels are even in sigma^(1/rho) */
    double sigma_data;           /* of "edm": the data's standard deviation */
} genfuse_schedule;

/* "linear", 1000 timesteps, betas 1e-4 to 0.02; for "edm" 0.002 to 80, rho 7, sigma_data 0.5.
 * size is sizeof(genfuse_schedule). */
GENFUSE_API void genfuse_schedule_init(genfuse_schedule* schedule, size_t size);

/* Writes the signal's share at each timestep, x_t = sqrt(a_t) x0 + sqrt(1 - a_t) noise, into
 * alphas_cumprod (count,); count is num_train_timesteps. Invalid for "flow" and "edm". */
GENFUSE_API genfuse_status genfuse_schedule_alphas_cumprod(const genfuse_schedule* schedule,
                                                           double* alphas_cumprod, int64_t count);

/* ---- Samplers ---- */

/* A solver's own option: a number (0 or 1 where it is a switch), or a name. Given twice, the last counts.
 *
 *   ddim                      eta [0, 1] (0), use_clipped_model_output (0)
 *   ddpm                      variance_type "fixed_small" | "fixed_large" | "learned" | "learned_range",
 *                             final_noise (0)
 *   deis                      order 1-4 (2), lower_order_final (0)
 *   dpm_*, dpmpp_* (not _sde alone)
 *                             order 1-3, algorithm "dpmsolver" | "dpmsolver++" | "sde-dpmsolver" |
 *                             "sde-dpmsolver++", solver_type "midpoint" | "heun", lower_order_final (1),
 *                             curvature "exact" | "diffusers"; multistep ones also "published",
 *                             euler_at_final (0)
 *   dpmpp_sde                 s_noise (1)
 *   euler                     s_churn (0), s_tmin (0), s_tmax (infinite), s_noise (1)
 *   euler_ancestral           eta [0, 1] (1)
 *   flow_heun                 churn (0), churn_minimum (0), churn_maximum (infinite), churn_noise (1)
 *   ipndm                     order 1-4 (4)
 *   lcm                       timestep_scaling (10), sigma_data (0.5)
 *   lms                       order 1-5 (4)
 *   sa_solver                 predictor_order 1-4 (2), corrector_order 1-4 (2), lower_order_final (1),
 *                             parametrization "data_prediction" | "noise_prediction"; and tau below
 *   tcd                       eta [0, 1] (0.3)
 *   unipc                     order 1-4 (2), predict_x0 (1), variant "bh2" | "bh1", lower_order_final (1),
 *                             disable_corrector (a row; as often as there are rows)
 *   dpm2, dpm2_ancestral, flow_euler, heun, pndm: none
 */
typedef struct {
    const char* name;
    double number;
    const char* text; /* NULL: it is the number */
} genfuse_option;

typedef struct {
    size_t size;                      /* sizeof(genfuse_sampler_options) */
    const genfuse_schedule* schedule; /* NULL: the linear one */
    /* What the network returns: "epsilon", "v_prediction", "sample" or "flow_prediction"; NULL: epsilon, of
     * "flow" flow_prediction. With "edm" one of the first two, which say the sign of its preconditioning. */
    const char* prediction;
    double clip_minimum, clip_maximum; /* the predicted x0 is kept in between; infinite: it is not */
    double clip_quantile;    /* above 0: dynamic threshold (Saharia et al. 2022), at this quantile of |x0| */
    double threshold_max;    /* at least 1: the most that the threshold may be */
    double guidance;         /* classifier-free guidance scale, used where a step is given `uncond` */
    double guidance_rescale; /* in [0, 1] (Lin et al. 2024, section 3.4) */
    /* The nodes: at most one of these. NULL, NULL, NULL, NULL: trailing; of "edm": karras. */
    const char* spacing;     /* "trailing", "linspace" or "leading" */
    const double* timesteps; /* (timestep_count,) strictly descending; `steps` is not looked at */
    int64_t timestep_count;
    const char* sigmas;         /* "karras", "exponential", "beta" or "lu" */
    const double* sigma_levels; /* (sigma_level_count,) strictly descending, the last where to end */
    int64_t sigma_level_count;
    double strength; /* in (0, 1]: the last share of the nodes that is run, for starting from a picture */
    const genfuse_option* options; /* (option_count,) of the solver, in any order */
    int64_t option_count;
    /* SA-Solver's share of noise at a timestep, 0 the ODE, 1 the SDE; NULL: 1 from 200 to 800. Called while
     * the sampler is created. */
    double (*tau)(double timestep, void* tau_context);
    void* tau_context;
    int32_t threads; /* 0: as many as the process has cores. Results do not depend on it. */
} genfuse_sampler_options;

GENFUSE_API void genfuse_sampler_options_init(genfuse_sampler_options* options, size_t size);

/* The names of all solvers, in alphabetical order, i = 0, 1, ..; NULL behind the last. */
GENFUSE_API const char* genfuse_sampler_name(int64_t i);

/* A solver on one grid: a table with a row for each call of the network, and what lives between steps. */
typedef struct genfuse_sampler genfuse_sampler;

/* A sampler of a name for samples (N, *S) of the shape. All memory that it will need is taken now, but for
 * what dynamic thresholds and guidance rescale work in. `options` (NULL: defaults) and all that it points to
 * are copied. `*sampler` is NULL where the call fails. */
GENFUSE_API genfuse_status genfuse_sampler_create(genfuse_sampler** sampler, const char* name, int64_t steps,
                                                  const genfuse_shape* shape,
                                                  const genfuse_sampler_options* options);

/* NULL is allowed. */
GENFUSE_API void genfuse_sampler_free(genfuse_sampler* sampler);

/* Rows of the table: calls of the network in a whole run (some solvers have two a step). */
GENFUSE_API int64_t genfuse_sampler_rows(const genfuse_sampler* sampler);

/* (rows,) what the network is given as time before each row. Python's networks get it as float32, but for
 * samples of float64: where a picture is to be the same as there, round to float first. */
GENFUSE_API const double* genfuse_sampler_timesteps(const genfuse_sampler* sampler);

/* (rows,) what the sample is multiplied by before the network sees it: 1, but for "edm". See
 * genfuse_sampler_scale_input. */
GENFUSE_API const double* genfuse_sampler_input_scale(const genfuse_sampler* sampler);

/* Columns of a row of the table. */
#define GENFUSE_TABLE_COLUMNS 32

/* (rows, GENFUSE_TABLE_COLUMNS) the coefficients, as `sampler.table.rows` in Python. */
GENFUSE_API const double* genfuse_sampler_table(const genfuse_sampler* sampler);

/* 1 where steps need the network's log-variance (`variance`), else 0. */
GENFUSE_API int genfuse_sampler_learned_variance(const genfuse_sampler* sampler);

/* Starts a run: forgets what earlier steps stored, keeps seeds (N,), and writes into x (contiguous, of the
 * sampler's shape and dtype) the noise that the run begins with, each sample by its own seed. */
GENFUSE_API genfuse_status genfuse_sampler_begin(genfuse_sampler* sampler, const int64_t* seeds, void* x);

/* The same from pictures x0: x is x0 with the first row's noise. x may be x0. */
GENFUSE_API genfuse_status genfuse_sampler_begin_from(genfuse_sampler* sampler, const int64_t* seeds,
                                                      const void* x0, void* x);

/* Starts sample n of the batch x anew, with a seed of its own, and leaves the others as they are: a request
 * that joins a batch in which others are on their way (genfuse_step_inputs.rows). Requests that differ in
 * solver, steps or guidance share a batch of the network all the same: one sampler each, for one sample, on
 * its place in the batch. */
GENFUSE_API genfuse_status genfuse_sampler_begin_sample(genfuse_sampler* sampler, int64_t n, int64_t seed,
                                                        void* x);

/* Row i: from the sample x before it and the network's output there, the next sample, into x. Both
 * contiguous. Rows go in order, from 0; one that reads what no earlier row has stored is refused. */
GENFUSE_API genfuse_status genfuse_sampler_step(genfuse_sampler* sampler, int64_t i, void* x,
                                                const void* model_output);

/* Writes x times row i's input scale into `seen`, which may be x: what the network is given. */
GENFUSE_API genfuse_status genfuse_sampler_scale_input(const genfuse_sampler* sampler, int64_t i,
                                                       const void* x, void* seen);

/* The forward process: x0 (contiguous) with the noise of row i's level, by seeds (N,), into `noisy`, which
 * may be x0. Not the noise of a run: its stream is its own. */
GENFUSE_API genfuse_status genfuse_sampler_add_noise(const genfuse_sampler* sampler, int64_t i,
                                                     const int64_t* seeds, const void* x0, void* noisy);

/* ---- A step with everything ---- */

/* What a step reads and writes: tensors of the sampler's shape and dtype, of any strides. */
typedef struct {
    size_t size; /* sizeof(genfuse_step_inputs) */
    genfuse_tensor x, model_output;
    genfuse_tensor out;      /* absent: x. May be x or model_output, but not overlap an input otherwise */
    genfuse_tensor uncond;   /* the output without the condition, mixed in by the guidance scale */
    genfuse_tensor variance; /* a learned log-variance, where the sampler needs it */
    genfuse_tensor noise, noise_prev; /* instead of what the seeds give for this row and the one before */
    /* (N,) the row of each sample, instead of i: a batch whose samples are on different steps. */
    const int64_t* rows;
} genfuse_step_inputs;

/* All absent. */
GENFUSE_API void genfuse_step_inputs_init(genfuse_step_inputs* inputs, size_t size);

/* A contiguous (row-major) tensor of a shape. */
GENFUSE_API void genfuse_contiguous(const genfuse_shape* shape, void* data, genfuse_tensor* tensor);

/* genfuse_sampler_step for any tensors, guidance, learned variance, and a row a sample. */
GENFUSE_API genfuse_status genfuse_sampler_step_with(genfuse_sampler* sampler, int64_t i,
                                                     const genfuse_step_inputs* inputs);

/* The same on device pointers of the current CUDA context, queued on a stream (a CUstream).
 * GENFUSE_UNSUPPORTED where the library is built without CUDA kernels, as this version always is. */
GENFUSE_API genfuse_status genfuse_sampler_step_cuda(genfuse_sampler* sampler, int64_t i,
                                                     const genfuse_step_inputs* inputs, void* stream);

/* ---- Noise ---- */

/* What noise is for: independent of one another. */
enum { GENFUSE_NOISE_STEP = 0, GENFUSE_NOISE_INIT = 1, GENFUSE_NOISE_FORWARD = 2 };

/* Standard normals of a shape: sample n depends on seeds[n], the row in [0, 2^32) and the stream alone
 * (Philox 4x32-10 with Box-Muller). threads as in genfuse_sampler_options. */
GENFUSE_API genfuse_status genfuse_noise(const genfuse_shape* shape, const int64_t* seeds, int64_t row,
                                         uint32_t stream, int32_t threads, const genfuse_tensor* out);

/* ---- Networks ---------------------------------------------------------------------------------------------
 */

/* A network that genfuse.export, or `genfuse export`, wrote: its weights and a plan for each form of its
 * inputs. Beside what is said of handles above: several threads may run one at once. */
typedef struct genfuse_network genfuse_network;

/* The dtype of an input of whole numbers, such as labels. */
enum { GENFUSE_INT64 = 4 };

/* An input or output: contiguous memory of that shape. */
typedef struct {
    const char* name;
    genfuse_shape shape; /* dtype: a genfuse_dtype, or GENFUSE_INT64 */
    size_t bytes;
} genfuse_port;

/* Maps the file, checks all of it and packs the weights for this processor. A file that is cut off, changed
 * anywhere, of another version, or whose plan would reach beyond its memory, is GENFUSE_BAD_FILE. The file
 * must stay as it is while the network lives: to replace it, rename a new one into its place. threads as in
 * genfuse_sampler_options. `*network` is NULL where the call fails. */
GENFUSE_API genfuse_status genfuse_network_load(genfuse_network** network, const char* path, int32_t threads);

/* NULL is allowed. */
GENFUSE_API void genfuse_network_free(genfuse_network* network);

/* How many plans the network has, numbered from 0. */
GENFUSE_API int64_t genfuse_network_plans(const genfuse_network* network);

/* The plan whose first input has `batch` samples, or -1. */
GENFUSE_API int64_t genfuse_network_plan_for(const genfuse_network* network, int64_t batch);

/* What a plan takes and what it makes, `*count` of them; NULL, and 0, where there is no such plan. */
GENFUSE_API const genfuse_port* genfuse_network_inputs(const genfuse_network* network, int64_t plan,
                                                       int64_t* count);
GENFUSE_API const genfuse_port* genfuse_network_outputs(const genfuse_network* network, int64_t plan,
                                                        int64_t* count);

/* Bytes that a run of the plan works in, beside the weights: kept for the next run. -1: no such plan. */
GENFUSE_API int64_t genfuse_network_memory(const genfuse_network* network, int64_t plan);

/* One inference: inputs and outputs in the order of the plan's. Bit for bit what the exported module gives in
 * Python on the same machine, whatever the threads. A call that fails has not written the outputs. */
GENFUSE_API genfuse_status genfuse_network_run(const genfuse_network* network, int64_t plan,
                                               const void* const inputs[], void* const outputs[],
                                               int32_t threads);

#ifdef __cplusplus
}
#endif

#endif
