// Every instruction set gives the words of the baseline, and its normals and steps to rounding. Linked
// against libgenfuse_core.a of any build; returns the number of disagreements.
#include <cmath>
#include <cstdio>
#include <vector>

#include "common/cpuid.h"
#include "philox_normal/params.h"
#include "sampler_step/params.h"

using Floats = std::vector<float>;
constexpr int64_t kSamples = 2, kChannels = 3, kPixels = 1237, kNumel = kSamples * kChannels * kPixels;

static genfuse_tensor tensor(Floats& values, bool channels_last) {
    genfuse_tensor t{};
    t.data = values.data();
    t.stride[0] = kChannels * kPixels;
    t.stride[1] = channels_last ? 1 : kPixels;
    t.stride[2] = channels_last ? kChannels : 1;
    return t;
}

static Floats step(bool channels_last) {
    Floats x(kNumel), m(kNumel), out(kNumel);
    for (int64_t i = 0; i < kNumel; ++i) x[i] = std::sin(0.1f * i), m[i] = std::cos(0.3f * i);
    double row[GENFUSE_ROW] = {};
    row[GENFUSE_COLUMN_x0_x] = 1.5, row[GENFUSE_COLUMN_x0_m] = -0.5, row[GENFUSE_COLUMN_clip_min] = -1;
    row[GENFUSE_COLUMN_clip_max] = 1, row[GENFUSE_COLUMN_y_x] = 0.25, row[GENFUSE_COLUMN_y_x0] = 0.75;
    row[GENFUSE_COLUMN_y_noise] = 1, row[GENFUSE_COLUMN_store] = -1;
    const int64_t seeds[kSamples] = {7, -9};
    genfuse_sampler_step_args args{};
    args.shape = {GENFUSE_FLOAT32, 3, {kSamples, kChannels, kPixels}};
    args.x = tensor(x, channels_last), args.model_output = tensor(m, channels_last);
    args.out = tensor(out, channels_last);
    args.table = row, args.rows = 1, args.seeds = seeds, args.threads = 1;
    genfuse_message message;
    if (genfuse_sampler_step(&args, &message) != GENFUSE_OK) std::puts(message.text);
    return out;
}

int main() {
    int wrong = 0;
    std::vector<uint32_t> first_words;
    Floats first[2];
    for (int isa = 0; isa < genfuse::kIsas; ++isa) {
        if (!genfuse::set_isa(static_cast<genfuse::Isa>(isa))) continue;
        std::vector<uint32_t> words(4 * 37);
        genfuse_philox_words(words.data(), 37, 5, -3, 2, 1);
        if (isa == 0) first_words = words;
        wrong += words != first_words;
        for (int order = 0; order < 2; ++order) {
            const Floats out = step(order == 1);
            if (isa == 0) first[order] = out;
            double worst = 0;
            for (int64_t i = 0; i < kNumel; ++i)
                worst = std::fmax(worst, std::fabs(out[i] - first[order][i]));
            wrong += !(worst < 4e-6);
            std::printf("%s, %s: largest difference from baseline %.1e\n",
                        genfuse::isa_name(static_cast<genfuse::Isa>(isa)),
                        order ? "channels-last" : "contiguous", worst);
        }
    }
    return wrong;
}
