#include "genfuse/spectral_norm.h"
// genfuse: dtypes=float32

// Step 2: a matrix is rows of float32 one behind the other, a copy where it is not already; products are runs
// of memory, and layers are shared among the threads. What is left: a step reads the matrix twice and sigma
// once more, where once is enough.

namespace {

typedef std::vector<float> Rows;

typedef float Floats __attribute__((vector_size(32)));
typedef double Doubles __attribute__((vector_size(64)));

Doubles wide(const float* from) {
    Floats v;
    memcpy(&v, from, sizeof(v));
    return __builtin_convertvector(v, Doubles);
}

double dot(const float* a, const float* b, int64_t count) {
    Doubles lanes[4] = {};  // so that sums need not wait for each other
    double sum = 0;
    int64_t i = 0;
    for (; i + 32 <= count; i += 32)
        for (int k = 0; k < 4; ++k) lanes[k] += wide(a + i + 8 * k) * wide(b + i + 8 * k);
    for (; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
    for (int k = 0; k < 8; ++k) sum += lanes[0][k] + lanes[1][k] + lanes[2][k] + lanes[3][k];
    return sum;
}

// to += factor·row
void add(double* to, double factor, const float* row, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] += factor * row[i];
}

// v over its norm, which is returned
double normalise(const std::vector<double>& v, Rows* to, double eps) {
    double squares = 0;
    for (double each : v) squares += each * each;
    const double norm = sqrt(squares) > eps ? sqrt(squares) : eps;
    for (size_t i = 0; i < v.size(); ++i) (*to)[i] = static_cast<float>(v[i] / norm);
    return norm;
}

Rows read(const genfuse_tensor& t) {
    Rows made(static_cast<size_t>(genfuse::numel(t)));
    for (size_t i = 0; i < made.size(); ++i)
        made[i] = static_cast<float>(genfuse::load(t, genfuse::place(t, static_cast<int64_t>(i))));
    return made;
}

// A layer of genfuse_args, its matrix by rows.
struct Layer {
    const genfuse_tensor& weight;
    int64_t rows, columns, inner, outer;
    Rows copy;
    const float* data;

    Layer(const genfuse_tensor& w, int64_t dim) : weight(w), rows(w.size[dim]), inner(1), outer(1) {
        for (int i = 0; i < w.axes; ++i) (i < dim ? outer : inner) *= i == dim ? 1 : w.size[i];
        columns = outer * inner;
        data = static_cast<const float*>(w.data);
        if (outer == 1 && genfuse::contiguous(w)) return;
        copy.resize(static_cast<size_t>(rows * columns));
        for (int64_t i = 0; i < rows * columns; ++i)
            copy[static_cast<size_t>(i / inner % rows * columns + i / (inner * rows) * inner + i % inner)] =
                static_cast<float>(genfuse::load(w, genfuse::place(w, i)));
        data = copy.data();
    }
    std::vector<double> times(const Rows& v) const {
        std::vector<double> made(static_cast<size_t>(rows));
        for (int64_t i = 0; i < rows; ++i)
            made[static_cast<size_t>(i)] = dot(data + i * columns, v.data(), columns);
        return made;
    }
    std::vector<double> transposed_times(const Rows& u) const {
        std::vector<double> made(static_cast<size_t>(columns));
        for (int64_t i = 0; i < rows; ++i)
            add(made.data(), u[static_cast<size_t>(i)], data + i * columns, columns);
        return made;
    }
};

void divide(const genfuse_tensor& out, const genfuse_tensor& weight, double sigma) {
    const int64_t count = genfuse::numel(out);
    if (genfuse::contiguous(out) && genfuse::contiguous(weight)) {
        const float* from = static_cast<const float*>(weight.data);
        float *to = static_cast<float*>(out.data), by = static_cast<float>(sigma);
        for (int64_t i = 0; i < count; ++i) to[i] = from[i] / by;
        return;
    }
    for (int64_t i = 0; i < count; ++i)
        genfuse::store(out, genfuse::place(out, i), genfuse::load(weight, genfuse::place(weight, i)) / sigma);
}

void keep(const genfuse_args& args, int64_t at, const genfuse_tensor& stored, const Rows& vector) {
    for (size_t i = 0; i < vector.size(); ++i) {
        genfuse::store(args.vectors, (at + static_cast<int64_t>(i)) * args.vectors.stride[0], vector[i]);
        if (args.steps) genfuse::store(stored, static_cast<int64_t>(i) * stored.stride[0], vector[i]);
    }
}

}  // namespace

GENFUSE_KERNEL(args) {
    std::vector<int64_t> kept{0};
    for (int64_t layer = 0; layer < args.weights_count; ++layer) {
        if (args.weights[layer].dtype != GENFUSE_FLOAT32) return "weights of another dtype than float32";
        kept.push_back(kept.back() + genfuse::numel(args.us[layer]) + genfuse::numel(args.vs[layer]));
    }
    genfuse::parallel(args.threads, args.weights_count, [&](int64_t begin, int64_t end) {
        for (int64_t layer = begin; layer < end; ++layer) {
            const Layer w(args.weights[layer], args.dims[layer]);
            Rows u = read(args.us[layer]), v = read(args.vs[layer]);
            for (int64_t step = 0; step < args.steps; ++step) {
                normalise(w.times(v), &u, args.eps);
                normalise(w.transposed_times(u), &v, args.eps);
            }
            const std::vector<double> along = w.times(v);
            double sigma = 0;
            for (size_t i = 0; i < u.size(); ++i) sigma += along[i] * u[i];
            genfuse::store(args.sigmas, layer * args.sigmas.stride[0], sigma);
            divide(args.normalised[layer], args.weights[layer], sigma);
            const int64_t at = kept[static_cast<size_t>(layer)];
            keep(args, at, args.us[layer], u);
            keep(args, at + w.rows, args.vs[layer], v);
        }
    });
    return nullptr;
}
