// A sampler around a network of one's own, in C++: a batch of four, stochastic, with options of the solver.
// The network is exact: data are a Gaussian around a disc.
#include <genfuse.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

constexpr int kSide = 64, kChannels = 3, kPixels = kSide * kSide, kNumel = kChannels * kPixels, kBatch = 4;

void check(genfuse_status status) {
    if (status != GENFUSE_OK) throw std::runtime_error(genfuse_last_error());
}

float mean_of(int channel, int pixel) {
    const float dx = static_cast<float>(pixel % kSide - kSide / 2),
                dy = static_cast<float>(pixel / kSide - kSide / 2);
    return dx * dx + dy * dy < 400 ? 0.9f - 0.6f * static_cast<float>(channel) : -0.5f;
}

// The noise in x where the signal's share is a.
void network(const std::vector<float>& x, double a, std::vector<float>* output) {
    const double variance = 0.05 * 0.05, gain = variance * std::sqrt(a) / (a * variance + 1 - a);
    for (int i = 0; i < kBatch * kNumel; ++i) {
        const double mean = mean_of(i % kNumel / kPixels, i % kPixels), value = x[i];
        const double x0 = mean + gain * (value - std::sqrt(a) * mean);
        (*output)[i] = static_cast<float>((value - std::sqrt(a) * x0) / std::sqrt(1 - a));
    }
}

// The batch, one picture under the other.
void write_ppm(const char* path, const std::vector<float>& x) {
    std::ofstream file(path, std::ios::binary);
    file << "P6\n" << kSide << ' ' << kBatch * kSide << "\n255\n";
    for (int n = 0; n < kBatch; ++n) {
        for (int pixel = 0; pixel < kPixels; ++pixel) {
            for (int channel = 0; channel < kChannels; ++channel) {
                const float value = (x[n * kNumel + channel * kPixels + pixel] + 1) * 127.5f;
                file.put(static_cast<char>(value < 0 ? 0 : value > 255 ? 255 : static_cast<int>(value)));
            }
        }
    }
    if (!file.flush()) throw std::runtime_error("the picture could not be written");
}

}  // namespace

int main(int count, char** arguments) try {
    genfuse_schedule schedule;
    genfuse_schedule_init(&schedule, sizeof schedule);
    schedule.name = "scaled_linear";
    std::vector<double> alphas_cumprod(1000);
    check(genfuse_schedule_alphas_cumprod(&schedule, alphas_cumprod.data(), 1000));

    const genfuse_option own[] = {{"solver_type", 0, "heun"}, {"lower_order_final", 1, nullptr}};
    genfuse_sampler_options options;
    genfuse_sampler_options_init(&options, sizeof options);
    options.schedule = &schedule;
    options.spacing = "trailing";
    options.options = own;
    options.option_count = 2;

    const genfuse_shape shape = {GENFUSE_FLOAT32, 4, {kBatch, kChannels, kSide, kSide}};
    genfuse_sampler* made = nullptr;
    check(genfuse_sampler_create(&made, "dpmpp_2m_sde", 25, &shape, &options));
    const std::unique_ptr<genfuse_sampler, void (*)(genfuse_sampler*)> sampler(made, genfuse_sampler_free);

    std::vector<float> x(kBatch * kNumel), output(x.size());
    const int64_t seeds[kBatch] = {1, 2, 3, 4};
    check(genfuse_sampler_begin(made, seeds, x.data()));
    for (int64_t i = 0; i < genfuse_sampler_rows(made); ++i) {
        network(x, alphas_cumprod[static_cast<size_t>(genfuse_sampler_timesteps(made)[i])], &output);
        check(genfuse_sampler_step(made, i, x.data(), output.data()));
    }
    if (count > 1) write_ppm(arguments[1], x);
    return 0;
} catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
}
