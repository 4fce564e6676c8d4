// spectral_norm's C interface: the power iterations of all layers, a pass at a time.
#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "common/message.h"
#include "spectral_norm/job.h"

namespace genfuse {
namespace {

constexpr int64_t kElementsAPiece = 1 << 14;

// All layers cut into pieces along `length` of them, which has `width` elements at each place.
struct Pieces {
    std::vector<SpectralPiece> all;
    int64_t work = 0;

    void cut(int64_t layer, int64_t length, int64_t width, int64_t least = 1) {
        const int64_t part = std::max(least, kElementsAPiece / width);
        for (int64_t first = 0; first < length; first += part) {
            all.push_back({layer, first, std::min(length, first + part), 0});
        }
        work += length * width;
    }
};

template <class Layer>
Pieces lines_of(const Layer* layers, int64_t count) {
    Pieces pieces;
    for (int64_t i = 0; i < count; ++i) {
        pieces.cut(i, layers[i].outer * layers[i].rows, layers[i].inner);
    }
    return pieces;
}

template <class Layer>
genfuse_status check_layers(const Layer* layers, int64_t count, genfuse_message* message) {
    for (int64_t i = 0; i < count; ++i) {
        const Layer& layer = layers[i];
        const long long place = static_cast<long long>(i);
        if (layer.dtype != GENFUSE_FLOAT32 && layer.dtype != GENFUSE_BFLOAT16 &&
            layer.dtype != GENFUSE_FLOAT16) {
            return invalid(message, "dtype of layer %lld is code %d, expected float32, bfloat16 or float16",
                           place, static_cast<int>(layer.dtype));
        }
        if (layer.outer < 1 || layer.rows < 1 || layer.inner < 1) {
            return invalid(message, "layer %lld has sizes %lld, %lld, %lld, expected 1 or more", place,
                           static_cast<long long>(layer.outer), static_cast<long long>(layer.rows),
                           static_cast<long long>(layer.inner));
        }
    }
    return GENFUSE_OK;
}

class Iteration {
  public:
    explicit Iteration(const genfuse_spectral_norm_args& args)
        : args_(args), lines_(lines_of(args.layers, args.count)) {
        int64_t rows = 0, shares = 0;
        for (int64_t i = 0; i < args.count; ++i) {
            const genfuse_spectral_layer& layer = args.layers[i];
            const int64_t columns = layer.outer * layer.inner;
            first_rows_.push_back(static_cast<int64_t>(rows_.all.size()));
            u_place_.push_back(rows);
            rows += layer.rows;
            rows_.cut(i, layer.rows, columns, kRowsTogether);
            for (size_t j = static_cast<size_t>(first_rows_.back()); j < rows_.all.size(); ++j) {
                rows_.all[j].place = shares;
                shares += columns;
            }
            whole_.cut(i, 1, layer.rows + columns);
        }
        first_rows_.push_back(static_cast<int64_t>(rows_.all.size()));
        u_.resize(static_cast<size_t>(rows));
        scales_.resize(rows_.all.size());
        if (args.steps > 0) shares_.reset(new float[static_cast<size_t>(shares)]);
    }

    void run() {
        over(GENFUSE_KERNEL(spectral_begin_units), whole_);
        for (int32_t step = 0; step < args_.steps; ++step) {
            over(GENFUSE_KERNEL(spectral_rows_units), rows_);
            over(GENFUSE_KERNEL(spectral_step_units), whole_);
        }
        if (args_.steps > 0) {
            over(GENFUSE_KERNEL(spectral_end_units), whole_);
        } else {
            over(GENFUSE_KERNEL(spectral_rows_units), rows_);
            over(GENFUSE_KERNEL(spectral_sigma_units), whole_);
        }
        over(GENFUSE_KERNEL(spectral_divide_units), lines_);
    }

  private:
    const genfuse_spectral_norm_args& args_;
    Pieces lines_, rows_, whole_;
    std::vector<float> u_;
    std::vector<double> scales_;
    std::unique_ptr<float[]> shares_;
    std::vector<int64_t> u_place_, first_rows_;

    void over(void (*kernel)(const SpectralJob&, int64_t, int64_t), const Pieces& pieces) {
        const SpectralJob job{args_.layers,    pieces.all.data(), u_.data(),        shares_.get(),
                              scales_.data(),  u_place_.data(),   rows_.all.data(), first_rows_.data(),
                              args_.steps > 0, args_.eps,         args_.sigmas};
        run_units(kernel, job, static_cast<int64_t>(pieces.all.size()), pieces.work, args_.threads);
    }
};

genfuse_status run(const genfuse_spectral_norm_args& args, genfuse_message* message) {
    if (args.steps < 0) {
        return invalid(message, "steps is %d, expected 0 or more", static_cast<int>(args.steps));
    }
    if (!(args.eps >= 0)) return invalid(message, "eps is %g, expected 0 or more", args.eps);
    const genfuse_status status = check_layers(args.layers, args.count, message);
    if (status != GENFUSE_OK) return status;
    Iteration(args).run();
    return GENFUSE_OK;
}

genfuse_status run(const genfuse_spectral_norm_gradient_args& args, genfuse_message* message) {
    const genfuse_status status = check_layers(args.layers, args.count, message);
    if (status != GENFUSE_OK) return status;
    const Pieces pieces = lines_of(args.layers, args.count);
    const int64_t units = static_cast<int64_t>(pieces.all.size());
    std::vector<double> sums(pieces.all.size()), coefficients(static_cast<size_t>(args.count));
    const SpectralGradientJob job{args.layers, pieces.all.data(), sums.data(), coefficients.data()};
    run_units(GENFUSE_KERNEL(spectral_product_units), job, units, pieces.work, args.threads);
    for (size_t i = 0; i < sums.size(); ++i)
        coefficients[static_cast<size_t>(pieces.all[i].layer)] += sums[i];
    run_units(GENFUSE_KERNEL(spectral_gradient_units), job, units, pieces.work, args.threads);
    return GENFUSE_OK;
}

}  // namespace
}  // namespace genfuse

genfuse_status genfuse_spectral_norm(const genfuse_spectral_norm_args* args, genfuse_message* message) {
    try {
        return genfuse::run(*args, message);
    } catch (const std::bad_alloc&) {
        return GENFUSE_OUT_OF_MEMORY;
    }
}

genfuse_status genfuse_spectral_norm_gradient(const genfuse_spectral_norm_gradient_args* args,
                                              genfuse_message* message) {
    try {
        return genfuse::run(*args, message);
    } catch (const std::bad_alloc&) {
        return GENFUSE_OUT_OF_MEMORY;
    }
}
