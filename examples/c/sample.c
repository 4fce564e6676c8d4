/* A sampler around a network of one's own, in C. The network here is exact: data are a Gaussian around a
 * disc, so E[x0 | x] is known, and the picture shows a disc.
 *
 *     cc sample.c $(pkg-config --cflags --libs genfuse) -lm -o sample && ./sample sample.ppm
 */
#include <genfuse.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 64, CHANNELS = 3, PIXELS = SIDE * SIDE, NUMEL = CHANNELS * PIXELS };

/* What the data are a Gaussian around, in [-1, 1], its deviation 0.05. */
static float mean_of(int channel, int pixel) {
    const float dx = (float)(pixel % SIDE) - SIDE / 2, dy = (float)(pixel / SIDE) - SIDE / 2;
    return dx * dx + dy * dy < 400 ? 0.9f - 0.6f * (float)channel : -0.5f;
}

/* The noise in x where the signal's share is a = alphas_cumprod[t]. */
static void network(const float* x, double a, float* output) {
    const double variance = 0.05 * 0.05, gain = variance * sqrt(a) / (a * variance + 1 - a);
    int i;
    for (i = 0; i < NUMEL; ++i) {
        const double mean = mean_of(i / PIXELS, i % PIXELS);
        const double x0 = mean + gain * (x[i] - sqrt(a) * mean);
        output[i] = (float)((x[i] - sqrt(a) * x0) / sqrt(1 - a));
    }
}

static int write_ppm(const char* path, const float* x) {
    FILE* const file = fopen(path, "wb");
    int pixel, channel;
    if (!file) return 0;
    fprintf(file, "P6\n%d %d\n255\n", SIDE, SIDE);
    for (pixel = 0; pixel < PIXELS; ++pixel) {
        for (channel = 0; channel < CHANNELS; ++channel) {
            const float value = (x[channel * PIXELS + pixel] + 1) * 127.5f;
            fputc(value < 0 ? 0 : value > 255 ? 255 : (int)value, file);
        }
    }
    return fclose(file) == 0;
}

static int fail(const char* what) {
    fprintf(stderr, "%s: %s\n", what, genfuse_last_error());
    return 1;
}

int main(int count, char** arguments) {
    static float x[NUMEL], output[NUMEL];
    static double alphas_cumprod[1000];
    const genfuse_shape shape = {GENFUSE_FLOAT32, 4, {1, CHANNELS, SIDE, SIDE}};
    const int64_t seed = 7;
    genfuse_schedule schedule;
    genfuse_sampler* sampler;
    int64_t i;

    genfuse_schedule_init(&schedule, sizeof schedule);
    if (genfuse_schedule_alphas_cumprod(&schedule, alphas_cumprod, 1000) != GENFUSE_OK)
        return fail("schedule");
    if (genfuse_sampler_create(&sampler, "dpmpp_2m", 20, &shape, NULL) != GENFUSE_OK) return fail("sampler");
    if (genfuse_sampler_begin(sampler, &seed, x) != GENFUSE_OK) return fail("begin");
    for (i = 0; i < genfuse_sampler_rows(sampler); ++i) {
        network(x, alphas_cumprod[(int)genfuse_sampler_timesteps(sampler)[i]], output);
        if (genfuse_sampler_step(sampler, i, x, output) != GENFUSE_OK) return fail("step");
    }
    genfuse_sampler_free(sampler);
    return count > 1 && !write_ppm(arguments[1], x);
}
