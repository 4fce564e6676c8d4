#include <algorithm>

#include "genfuse/norm_stats.h"
// genfuse: dtypes=float32

// Step 3: one read. 256 pixels at a time are summed in sixteen lanes of float32 about the first of them,
// where their mean cancels nothing, and such pieces merge in float64 (Chan, Golub & LeVeque 1979). Adding up
// the lanes is what takes time, so that pieces are long. What genfuse's own adds: channels last, half
// precision, threads that are there already.

namespace {

constexpr int kVector = 16, kPiece = 256;
typedef float Vector __attribute__((vector_size(4 * kVector)));

struct Moments {
    double count = 0, mean = 0, squares = 0;  // squares: of deviations from the mean, their sum

    void add(double n, double m, double s) {
        const double off = m - mean, all = count + n;
        mean += off * n / all;
        squares += s + off * off * count * n / all;
        count = all;
    }
};

void add_piece(Moments* to, const float* from) {
    const Vector about = Vector{} + from[0];
    Vector sum = {}, squares = {};
    for (int p = 0; p < kPiece; p += kVector) {
        Vector v;
        memcpy(&v, from + p, sizeof(v));
        const Vector off = v - about;
        sum += off;
        squares += off * off;
    }
    double s = 0, q = 0;
    for (int k = 0; k < kVector; ++k) s += sum[k], q += squares[k];
    to->add(kPiece, from[0] + s / kPiece, q - s * s / kPiece);
}

}  // namespace

GENFUSE_KERNEL(args) {
    if (!genfuse::contiguous(args.x)) return "images that are not planar and dense";
    const int64_t pixels = args.x.size[2] * args.x.size[3];
    genfuse::parallel(args.threads, args.x.size[0] * args.x.size[1], [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const float* from = static_cast<const float*>(args.x.data) + i * pixels;
            Moments of;
            int64_t p = 0;
            for (; p + kPiece <= pixels; p += kPiece) add_piece(&of, from + p);
            for (; p < pixels; ++p) of.add(1, from[p], 0);
            genfuse::store(args.out, genfuse::place(args.out, 2 * i), of.mean);
            genfuse::store(args.out, genfuse::place(args.out, 2 * i + 1),
                           std::max(of.squares, 0.0) / of.count);
        }
    });
    return nullptr;
}
