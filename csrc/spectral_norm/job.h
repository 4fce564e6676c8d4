// A checked call of spectral_norm, as its kernels read it: pieces of matrices, of one layer each.
#pragma once

#include "common/dispatch.h"
#include "spectral_norm/params.h"

namespace genfuse {

// Rows whose shares of Wᵀ·u are one vector, at least: that many times less is written than read.
constexpr int64_t kRowsTogether = 32;

// Rows or lines [first, last) of a layer, or the layer.
struct SpectralPiece {
    int64_t layer, first, last;
    int64_t place;  // of rows: where their share of Wᵀ·u begins
};

struct SpectralJob {
    const genfuse_spectral_layer* layers;
    const SpectralPiece* pieces;
    float* u;       // of all layers, side by side: W·v
    float* shares;  // of pieces of rows: (columns,) of Wᵀ·W·v, times their scale
    double* scales;
    const int64_t* u_place;
    const SpectralPiece* rows;  // of all layers, in order
    const int64_t* first_rows;  // of these each layer's first
    bool right;                 // whether Wᵀ·W·v is wanted
    double eps;
    float* sigmas;
};

struct SpectralGradientJob {
    const genfuse_spectral_gradient* layers;
    const SpectralPiece* pieces;
    double* sums;                // by pieces
    const double* coefficients;  // by layers: Σ gradient·normalised
};

// A piece is a layer.
GENFUSE_DECLARE_KERNEL(spectral_begin_units, SpectralJob)  // its vectors
GENFUSE_DECLARE_KERNEL(spectral_step_units, SpectralJob)   // u and v from the rows' products, and sigma
GENFUSE_DECLARE_KERNEL(spectral_sigma_units, SpectralJob)  // sigma from W·v
GENFUSE_DECLARE_KERNEL(spectral_end_units, SpectralJob)    // the vectors where they came from
// Rows of the matrix: W·v, and their share of Wᵀ·W·v.
GENFUSE_DECLARE_KERNEL(spectral_rows_units, SpectralJob)
// Lines of `inner` elements.
GENFUSE_DECLARE_KERNEL(spectral_divide_units, SpectralJob)
GENFUSE_DECLARE_KERNEL(spectral_product_units, SpectralGradientJob)
GENFUSE_DECLARE_KERNEL(spectral_gradient_units, SpectralGradientJob)

}  // namespace genfuse
