/* Emoji from the network that genfuse comes with, without Python: a row of as many as its plan takes.
 *
 *     genfuse export --batch 8 -o unet.gfz
 *     cc sample.c $(pkg-config --cflags --libs genfuse) -lm -o sample && ./sample unet.gfz emoji.png 7
 */
#include <genfuse.h>
#include <math.h>

#include "png.h"

enum { CLASSES = 14, STEPS = 20 };

static void check(int good) {
    if (!good) fprintf(stderr, "%s\n", genfuse_last_error()), exit(1);
}

int main(int count, char** arguments) {
    genfuse_network* network;
    if (count != 4) return fprintf(stderr, "usage: sample NETWORK PICTURE SEED\n"), 2;
    check(genfuse_network_load(&network, arguments[1], 0) == GENFUSE_OK);
    const genfuse_shape shape = genfuse_network_inputs(network, 0, NULL)[0].shape; /* x, t, label */
    const int64_t n = shape.size[0], h = shape.size[2], w = shape.size[3], values = n * 3 * h * w;
    float *x = calloc(3 * values, sizeof *x), *t = calloc(n, sizeof *t), *output = x + values;
    int64_t *labels = calloc(3 * n, sizeof *labels), *none = labels + n, *seeds = none + n;
    unsigned char* pixels = malloc(values);
    for (int64_t i = 0; i < n; ++i)
        labels[i] = i % CLASSES, none[i] = CLASSES, seeds[i] = atoll(arguments[3]) + i;

    genfuse_schedule schedule; /* what the network was trained on */
    genfuse_schedule_init(&schedule, sizeof schedule);
    schedule.name = "squaredcos_cap_v2";
    genfuse_sampler_options options;
    genfuse_sampler_options_init(&options, sizeof options);
    options.schedule = &schedule, options.prediction = "v_prediction", options.guidance = 2;
    options.clip_minimum = -1, options.clip_maximum = 1;
    genfuse_sampler* sampler;
    check(genfuse_sampler_create(&sampler, "dpmpp_2m", STEPS, &shape, &options) == GENFUSE_OK);
    check(genfuse_sampler_begin(sampler, seeds, x) == GENFUSE_OK);
    genfuse_step_inputs inputs;
    genfuse_step_inputs_init(&inputs, sizeof inputs);
    genfuse_contiguous(&shape, x, &inputs.x);
    genfuse_contiguous(&shape, output, &inputs.model_output);
    genfuse_contiguous(&shape, output + values, &inputs.uncond);
    for (int64_t row = 0; row < genfuse_sampler_rows(sampler); ++row) {
        for (int64_t i = 0; i < n; ++i) t[i] = (float)genfuse_sampler_timesteps(sampler)[row];
        for (int free = 0; free < 2; ++free) /* with the class, and without it */
            check(genfuse_network_run(network, 0, (const void*[]){x, t, free ? none : labels},
                                      (void*[]){output + free * values}, 0) == GENFUSE_OK);
        check(genfuse_sampler_step_with(sampler, row, &inputs) == GENFUSE_OK);
    }
    for (int64_t i = 0; i < values; ++i) { /* (n, 3, h, w) to rows of RGB */
        const int64_t at = ((i / w % h * n + i / (3 * h * w)) * w + i % w) * 3 + i / (h * w) % 3;
        pixels[at] = (unsigned char)rintf(fminf(fmaxf(x[i], -1), 1) * 127.5f + 127.5f);
    }
    genfuse_sampler_free(sampler), genfuse_network_free(network);
    return !png_write(arguments[2], pixels, (int)(n * w), (int)h);
}
