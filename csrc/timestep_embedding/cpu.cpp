// Sines and cosines of timesteps, by the C library in float64: too few to be worth vectors.
#include <cmath>
#include <new>
#include <vector>

#include "common/message.h"
#include "timestep_embedding/params.h"

namespace genfuse {
namespace {

using Args = genfuse_timestep_embedding_args;

double time_at(const Args& args, int64_t n) {
    if (args.t_dtype == GENFUSE_FLOAT32) return static_cast<double>(static_cast<const float*>(args.t)[n]);
    return static_cast<const double*>(args.t)[n];
}

template <class T>
void embed(const Args& args) {
    const int64_t half = args.channels / 2;
    std::vector<double> frequency(static_cast<size_t>(half));
    for (int64_t i = 0; i < half; ++i) {
        const double exponent =
            static_cast<double>(i) / (static_cast<double>(half) - args.downscale_freq_shift);
        frequency[static_cast<size_t>(i)] = std::exp(-std::log(args.max_period) * exponent);
    }
    const int64_t cosine = args.flip_sin_to_cos ? 0 : half, sine = half - cosine;
    for (int64_t n = 0; n < args.batch; ++n) {
        T* const out = static_cast<T*>(args.out) + n * args.channels;
        for (int64_t i = 0; i < half; ++i) {
            const double angle = args.scale * time_at(args, n) * frequency[static_cast<size_t>(i)];
            out[cosine + i] = static_cast<T>(std::cos(angle));
            out[sine + i] = static_cast<T>(std::sin(angle));
        }
        if (args.channels % 2) out[args.channels - 1] = 0;
    }
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_timestep_embedding(const genfuse_timestep_embedding_args* args,
                                          genfuse_message* message) {
    using namespace genfuse;
    if (args->batch < 0 || args->channels < 0) {
        return invalid(message, "out has a negative size, expected (batch, channels)");
    }
    if (args->dtype != GENFUSE_FLOAT32 && args->dtype != GENFUSE_FLOAT64) {
        return invalid(message, "dtype is code %d, expected float32 or float64", args->dtype);
    }
    if (args->t_dtype != GENFUSE_FLOAT32 && args->t_dtype != GENFUSE_FLOAT64) {
        return invalid(message, "dtype of t is code %d, expected float32 or float64", args->t_dtype);
    }
    try {
        args->dtype == GENFUSE_FLOAT32 ? embed<float>(*args) : embed<double>(*args);
    } catch (const std::bad_alloc&) {
        invalid(message, "out of memory in timestep_embedding");
        return GENFUSE_OUT_OF_MEMORY;
    }
    return GENFUSE_OK;
}
