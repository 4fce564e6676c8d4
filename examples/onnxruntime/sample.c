/* genfuse's sampler around a network that ONNX Runtime runs, by its C interface. The network takes x (1, 3, 64, 64)
 * and t (1,), both float32, and gives the noise in x, as diffusers' U-Nets do.
 *
 *     cc sample.c $(pkg-config --cflags --libs genfuse) -I<its include> -L<its lib> -lonnxruntime -o sample
 *     ./sample model.onnx sample.ppm
 */
#include <genfuse.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 64, CHANNELS = 3, PIXELS = SIDE * SIDE, NUMEL = CHANNELS * PIXELS };

static const OrtApi* ort;

static void ort_check(OrtStatus* status) {
    if (!status) return;
    fprintf(stderr, "ONNX Runtime: %s\n", ort->GetErrorMessage(status));
    exit(1);
}

static void check(genfuse_status status) {
    if (status == GENFUSE_OK) return;
    fprintf(stderr, "genfuse: %s\n", genfuse_last_error());
    exit(1);
}

static OrtValue* tensor_of(const OrtMemoryInfo* memory, float* data, const int64_t* shape, size_t axes) {
    OrtValue* value;
    size_t count = 1, axis;
    for (axis = 0; axis < axes; ++axis) count *= (size_t)shape[axis];
    ort_check(ort->CreateTensorWithDataAsOrtValue(memory, data, count * sizeof *data, shape, axes,
                                                  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
    return value;
}

static void write_ppm(const char* path, const float* x) {
    FILE* const file = fopen(path, "wb");
    int pixel, channel;
    if (!file) exit(1);
    fprintf(file, "P6\n%d %d\n255\n", SIDE, SIDE);
    for (pixel = 0; pixel < PIXELS; ++pixel) {
        for (channel = 0; channel < CHANNELS; ++channel) {
            const float value = (x[channel * PIXELS + pixel] + 1) * 127.5f;
            fputc(value < 0 ? 0 : value > 255 ? 255 : (int)value, file);
        }
    }
    fclose(file);
}

int main(int count, char** arguments) {
    static float x[NUMEL], output[NUMEL];
    float t;
    const genfuse_shape shape = {GENFUSE_FLOAT32, 4, {1, CHANNELS, SIDE, SIDE}};
    const int64_t seed = 7, one = 1;
    const char* const inputs[] = {"x", "t"};
    const char* const outputs[] = {"output"};
    genfuse_sampler* sampler;
    OrtEnv* environment;
    OrtSessionOptions* options;
    OrtSession* session;
    OrtMemoryInfo* memory;
    OrtValue *given[2], *wanted;
    int64_t i;
    if (count < 3) return fprintf(stderr, "usage: sample model.onnx sample.ppm\n"), 2;

    ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!ort) return fprintf(stderr, "this ONNX Runtime is older than its header\n"), 1;
    ort_check(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "sample", &environment));
    ort_check(ort->CreateSessionOptions(&options));
    ort_check(ort->CreateSession(environment, arguments[1], options, &session));
    ort_check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    /* the network reads and writes the sampler's own buffers */
    given[0] = tensor_of(memory, x, shape.size, 4);
    given[1] = tensor_of(memory, &t, &one, 1);
    wanted = tensor_of(memory, output, shape.size, 4);

    check(genfuse_sampler_create(&sampler, "dpmpp_2m", 20, &shape, NULL));
    check(genfuse_sampler_begin(sampler, &seed, x));
    for (i = 0; i < genfuse_sampler_rows(sampler); ++i) {
        t = (float)genfuse_sampler_timesteps(sampler)[i];
        ort_check(ort->Run(session, NULL, inputs, (const OrtValue* const*)given, 2, outputs, 1, &wanted));
        check(genfuse_sampler_step(sampler, i, x, output));
    }
    write_ppm(arguments[2], x);

    genfuse_sampler_free(sampler);
    ort->ReleaseValue(given[0]);
    ort->ReleaseValue(given[1]);
    ort->ReleaseValue(wanted);
    ort->ReleaseMemoryInfo(memory);
    ort->ReleaseSession(session);
    ort->ReleaseSessionOptions(options);
    ort->ReleaseEnv(environment);
    return 0;
}
