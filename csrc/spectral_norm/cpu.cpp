// The kernels of spectral_norm; compiled once for each instruction set.
#include <math.h>

#include "common/half.h"
#include "common/simd.h"
#include "spectral_norm/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int64_t kWide = kLanes<float>;

// Calls run(piece, layer, stored) for pieces [begin, end).
template <class Job, class Run>
void for_pieces(const Job& job, int64_t begin, int64_t end, Run run) {
    for (int64_t i = begin; i < end; ++i) {
        const auto& layer = job.layers[job.pieces[i].layer];
        with_stored(layer.dtype, [&](auto stored) { run(job.pieces[i], layer, stored); });
    }
}

// Σ a·b, in four chains a lane.
template <class Left, class Right>
double dot(const Left* a, const Right* b, int64_t count) {
    f32 sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * kWide <= count; i += 4 * kWide) {
        for (int j = 0; j < 4; ++j) {
            sums[j] = fma(widen(a + i + j * kWide), widen(b + i + j * kWide), sums[j]);
        }
    }
    for (; i < count; i += kWide) {
        sums[0] = fma(widen_part(a + i, count - i), widen_part(b + i, count - i), sums[0]);
    }
    return static_cast<double>(sum_of_lanes((sums[0] + sums[1]) + (sums[2] + sums[3])));
}

// Σ a·b in double: float32 may not hold a vector's squares. In eight chains.
double dot_exactly(const float* a, const float* b, int64_t count) {
    double sums[8] = {};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (int j = 0; j < 8; ++j) sums[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
    }
    for (; i < count; ++i) sums[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

template <class From, class To>
void copy(const From* from, int64_t count, To* to) {
    for (int64_t i = 0; i < count; i += kWide)
        narrow_part(to + i, widen_part(from + i, count - i), count - i);
}

// Gives what it divides by.
double normalise(const float* from, int64_t count, double eps, float* to) {
    const double norm = sqrt(dot_exactly(from, from, count));
    const double divisor = norm < eps ? eps : norm;  // NaN stays
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(static_cast<double>(from[i]) / divisor);
    return divisor;
}

// to += factor·row.
template <class Stored>
void add_row(const Stored* row, float factor, int64_t count, float* to) {
    const f32 share = broadcast<f32>(factor);
    for (int64_t i = 0; i < count; i += kWide) {
        narrow_part(to + i, fma(share, widen_part(row + i, count - i), widen_part(to + i, count - i)),
                    count - i);
    }
}

template <class Layer>
int64_t columns_of(const Layer& layer) {
    return layer.outer * layer.inner;
}

}  // namespace

void spectral_begin_units(const SpectralJob& job, int64_t begin, int64_t end) {
    for_pieces(job, begin, end, [](const SpectralPiece&, const genfuse_spectral_layer& layer, auto stored) {
        using Stored = decltype(stored);
        copy(static_cast<const Stored*>(layer.u), layer.rows, layer.vectors);
        copy(static_cast<const Stored*>(layer.v), columns_of(layer), layer.vectors + layer.rows);
    });
}

// A row is still in the cache when its share is added: the matrix is read once a step. u is not normalised by
// then, which is a factor for all rows alike; one near 1 keeps what float32 can hold of it.
void spectral_rows_units(const SpectralJob& job, int64_t begin, int64_t end) {
    for_pieces(job, begin, end,
               [&](const SpectralPiece& piece, const genfuse_spectral_layer& layer, auto stored) {
                   const auto* const weight = static_cast<const decltype(stored)*>(layer.weight);
                   const float* const v = layer.vectors + layer.rows;
                   float* const share = job.right ? job.shares + piece.place : nullptr;
                   for (int64_t i = 0; job.right && i < columns_of(layer); ++i) share[i] = 0;
                   double scale = 0;
                   for (int64_t row = piece.first; row < piece.last; ++row) {
                       double sum = 0;
                       for (int64_t outer = 0; outer < layer.outer; ++outer) {
                           sum += dot(weight + (outer * layer.rows + row) * layer.inner,
                                      v + outer * layer.inner, layer.inner);
                       }
                       job.u[job.u_place[piece.layer] + row] = static_cast<float>(sum);
                       if (scale == 0 && sum != 0) scale = 1 / fabs(sum);
                       const float factor = static_cast<float>(sum * scale);
                       for (int64_t outer = 0; job.right && outer < layer.outer; ++outer) {
                           add_row(weight + (outer * layer.rows + row) * layer.inner, factor, layer.inner,
                                   share + outer * layer.inner);
                       }
                   }
                   job.scales[&piece - job.pieces] = scale == 0 ? 1 : scale;
               });
}

void spectral_step_units(const SpectralJob& job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
        const genfuse_spectral_layer& layer = job.layers[i];
        const int64_t columns = columns_of(layer);
        const double norm = normalise(job.u + job.u_place[i], layer.rows, job.eps, layer.vectors);
        float* const v = layer.vectors + layer.rows;
        for (int64_t j = 0; j < columns; ++j) v[j] = 0;
        for (int64_t piece = job.first_rows[i]; piece < job.first_rows[i + 1]; ++piece) {
            add_row(job.shares + job.rows[piece].place, static_cast<float>(1 / (job.scales[piece] * norm)),
                    columns, v);
        }
        const double length = normalise(v, columns, job.eps, v);
        // u·W·v, and v is Wᵀ·u over its length.
        job.sigmas[i] = static_cast<float>(dot_exactly(v, v, columns) * length);
    }
}

void spectral_sigma_units(const SpectralJob& job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
        const genfuse_spectral_layer& layer = job.layers[i];
        job.sigmas[i] = static_cast<float>(dot_exactly(job.u + job.u_place[i], layer.vectors, layer.rows));
    }
}

void spectral_end_units(const SpectralJob& job, int64_t begin, int64_t end) {
    for_pieces(job, begin, end, [](const SpectralPiece&, const genfuse_spectral_layer& layer, auto stored) {
        using Stored = decltype(stored);
        copy(layer.vectors, layer.rows, static_cast<Stored*>(layer.u));
        copy(layer.vectors + layer.rows, columns_of(layer), static_cast<Stored*>(layer.v));
    });
}

void spectral_divide_units(const SpectralJob& job, int64_t begin, int64_t end) {
    for_pieces(job, begin, end,
               [&](const SpectralPiece& piece, const genfuse_spectral_layer& layer, auto stored) {
                   using Stored = decltype(stored);
                   const int64_t first = piece.first * layer.inner, count = piece.last * layer.inner - first;
                   const Stored* const from = static_cast<const Stored*>(layer.weight) + first;
                   Stored* const to = static_cast<Stored*>(layer.normalised) + first;
                   const f32 sigma = broadcast<f32>(job.sigmas[piece.layer]);
                   for (int64_t i = 0; i < count; i += kWide) {
                       narrow_part(to + i, widen_part(from + i, count - i) / sigma, count - i);
                   }
               });
}

void spectral_product_units(const SpectralGradientJob& job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
        const SpectralPiece& piece = job.pieces[i];
        const genfuse_spectral_gradient& layer = job.layers[piece.layer];
        with_stored(layer.dtype, [&](auto stored) {
            using Stored = decltype(stored);
            const int64_t first = piece.first * layer.inner, count = piece.last * layer.inner - first;
            job.sums[i] = dot(static_cast<const Stored*>(layer.gradient) + first,
                              static_cast<const Stored*>(layer.normalised) + first, count);
        });
    }
}

void spectral_gradient_units(const SpectralGradientJob& job, int64_t begin, int64_t end) {
    for_pieces(
        job, begin, end,
        [&](const SpectralPiece& piece, const genfuse_spectral_gradient& layer, auto stored) {
            using Stored = decltype(stored);
            const f32 sigma = broadcast<f32>(layer.sigma);
            for (int64_t line = piece.first; line < piece.last; ++line) {
                const float* const v = layer.vectors + layer.rows + line / layer.rows * layer.inner;
                const double u = static_cast<double>(layer.vectors[line % layer.rows]);
                const f32 share = broadcast<f32>(static_cast<float>(-job.coefficients[piece.layer] * u));
                const Stored* const from = static_cast<const Stored*>(layer.gradient) + line * layer.inner;
                Stored* const to = static_cast<Stored*>(layer.out) + line * layer.inner;
                for (int64_t i = 0; i < layer.inner; i += kWide) {
                    const int64_t left = layer.inner - i;
                    narrow_part(to + i,
                                fma(share, widen_part(v + i, left), widen_part(from + i, left)) / sigma,
                                left);
                }
            }
        });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
