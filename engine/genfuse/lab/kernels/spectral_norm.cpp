#include "genfuse/spectral_norm.h"

// Layer by layer, the matrix read element by element. What is to be gained: rows and columns in runs, both
// products of a step in one pass, all layers at once on all threads.

namespace {

struct Matrix {  // a weight, rows along its axis dim
    const genfuse_tensor& weight;
    int64_t dim, inner, rows, columns;

    Matrix(const genfuse_tensor& w, int64_t axis) : weight(w), dim(axis), inner(1), rows(w.size[axis]) {
        for (int64_t i = w.axes - 1; i > axis; --i) inner *= w.size[i];
        columns = genfuse::numel(w) / rows;
    }
    int64_t element(int64_t row, int64_t column) const {
        return (column / inner * rows + row) * inner + column % inner;
    }
    double at(int64_t row, int64_t column) const {
        return genfuse::load(weight, genfuse::place(weight, element(row, column)));
    }
};

void normalise(std::vector<double>& v, double eps) {
    double squares = 0;
    for (double each : v) squares += each * each;
    const double norm = sqrt(squares) > eps ? sqrt(squares) : eps;
    for (double& each : v) each /= norm;
}

std::vector<double> read(const genfuse_tensor& t) {
    std::vector<double> made;
    for (int64_t i = 0; i < genfuse::numel(t); ++i) made.push_back(genfuse::load(t, genfuse::place(t, i)));
    return made;
}

}  // namespace

GENFUSE_KERNEL(args) {
    int64_t kept = 0;
    for (int64_t layer = 0; layer < args.weights_count; ++layer) {
        const Matrix w(args.weights[layer], args.dims[layer]);
        std::vector<double> u = read(args.us[layer]), v = read(args.vs[layer]);
        for (int64_t step = 0; step < args.steps; ++step) {
            for (int64_t i = 0; i < w.rows; ++i) {
                u[static_cast<size_t>(i)] = 0;
                for (int64_t j = 0; j < w.columns; ++j)
                    u[static_cast<size_t>(i)] += w.at(i, j) * v[static_cast<size_t>(j)];
            }
            normalise(u, args.eps);
            for (int64_t j = 0; j < w.columns; ++j) {
                v[static_cast<size_t>(j)] = 0;
                for (int64_t i = 0; i < w.rows; ++i)
                    v[static_cast<size_t>(j)] += w.at(i, j) * u[static_cast<size_t>(i)];
            }
            normalise(v, args.eps);
        }
        double sigma = 0;
        for (int64_t i = 0; i < w.rows; ++i)
            for (int64_t j = 0; j < w.columns; ++j)
                sigma += u[static_cast<size_t>(i)] * w.at(i, j) * v[static_cast<size_t>(j)];
        genfuse::store(args.sigmas, layer * args.sigmas.stride[0], sigma);
        const genfuse_tensor& out = args.normalised[layer];
        for (int64_t i = 0; i < genfuse::numel(out); ++i)
            genfuse::store(out, genfuse::place(out, i),
                           genfuse::load(w.weight, genfuse::place(w.weight, i)) / sigma);
        for (const std::vector<double>* vector : {&u, &v}) {
            const genfuse_tensor& stored = vector == &u ? args.us[layer] : args.vs[layer];
            for (size_t i = 0; i < vector->size(); ++i) {
                genfuse::store(args.vectors, kept++ * args.vectors.stride[0], (*vector)[i]);
                if (args.steps)
                    genfuse::store(stored, static_cast<int64_t>(i) * stored.stride[0], (*vector)[i]);
            }
        }
    }
    return nullptr;
}
