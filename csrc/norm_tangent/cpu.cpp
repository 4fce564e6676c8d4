// The kernels of norm_tangent; compiled once for each instruction set.
#include <cmath>

#include "common/half.h"
#include "norm_tangent/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

constexpr int64_t kPiece = 16 * kLanes<float>;  // elements that are summed in float32

// The first `count` lanes, the others 0.
GENFUSE_INLINE f32 first(f32 value, int64_t count) {
    if (count >= kLanes<float>) return value;
    float lanes[kLanes<float>];
    store(lanes, value);
    return load_first(lanes, static_cast<int>(count));
}

// Adds to `sums` those of `n` values an element: values(first of a vector, how many are left, where to).
template <int n, class Values>
GENFUSE_INLINE void add_up(int64_t count, double (&sums)[n], Values values) {
    for (int64_t begin = 0; begin < count; begin += kPiece) {
        const int64_t end = count - begin < kPiece ? count : begin + kPiece;
        f32 part[n] = {}, found[n] = {};
        for (int64_t i = begin; i < end; i += kLanes<float>) {
            values(i, end - i, found);
            for (int k = 0; k < n; ++k) part[k] += first(found[k], end - i);
        }
        for (int k = 0; k < n; ++k) sums[k] += static_cast<double>(sum_of_lanes(part[k]));
    }
}

// Columns [begin, end) of a set, which have one weight, or, with `own`, one each.
template <bool own>
struct Run {
    const float *x, *tangent, *gradient, *weight;
    int64_t at, count;

    Run(const genfuse_norm_tangent_args& args, int64_t set, int64_t begin, int64_t end)
        : at(set * args.columns + begin), count(end - begin) {
        const int64_t row = set % args.weight_rows * args.weight_columns;
        x = args.x + at;
        tangent = args.tangent + at;
        gradient = args.gradient ? args.gradient + at : nullptr;
        weight = args.weight
                     ? args.weight + row + (own ? begin : begin / (args.columns / args.weight_columns))
                     : nullptr;
    }

    GENFUSE_INLINE f32 weight_at(int64_t i, int64_t left) const {
        if (!weight) return broadcast<f32>(1.0f);
        return own ? widen_part(weight + i, left) : broadcast<f32>(*weight);
    }

    // gradient·weight; 0 without a gradient.
    GENFUSE_INLINE f32 weighted(int64_t i, int64_t left) const {
        return gradient ? widen_part(gradient + i, left) * weight_at(i, left) : f32{};
    }
};

// Calls run(run of columns with a weight, its number) for those of columns [begin, end).
template <bool own, class Each>
void runs(const genfuse_norm_tangent_args& args, int64_t set, int64_t begin, int64_t end, Each each) {
    if (own) return each(Run<own>(args, set, begin, end), int64_t{0});
    const int64_t length = args.columns / args.weight_columns;
    for (int64_t k = begin / length; k * length < end; ++k) {
        each(Run<own>(args, set, k * length, (k + 1) * length), k);
    }
}

template <bool own>
NormTangentSet measured(const genfuse_norm_tangent_args& args, int64_t set) {
    const double share = 1 / static_cast<double>(args.columns);
    double means[3] = {};  // of x, tangent and gradient·weight
    runs<own>(args, set, 0, args.columns, [&](const Run<own>& run, int64_t) {
        add_up(run.count, means, [&run](int64_t i, int64_t left, f32* found) {
            found[0] = widen_part(run.x + i, left);
            found[1] = widen_part(run.tangent + i, left);
            found[2] = run.weighted(i, left);
        });
    });
    for (double& mean : means) mean *= share;
    NormTangentSet made{};
    made.mean = static_cast<float>(means[0]);
    made.tangent_mean = static_cast<float>(means[1]);
    const f32 mean = broadcast<f32>(made.mean), tangent_mean = broadcast<f32>(made.tangent_mean);
    double sums[6] = {};  // xc, tc, xc², xc·tc, w·xc, w·tc
    runs<own>(args, set, 0, args.columns, [&](const Run<own>& run, int64_t) {
        add_up(run.count, sums, [&](int64_t i, int64_t left, f32* found) {
            const f32 xc = widen_part(run.x + i, left) - mean;
            const f32 tc = widen_part(run.tangent + i, left) - tangent_mean;
            const f32 w = run.weighted(i, left);
            found[0] = xc;
            found[1] = tc;
            found[2] = xc * xc;
            found[3] = xc * tc;
            found[4] = w * xc;
            found[5] = w * tc;
        });
    });
    for (double& sum : sums) sum *= share;
    const double rest = sums[0], tangent_rest = sums[1];  // what the rounded means left over
    const double squares = sums[2] - rest * rest, xt = sums[3] - rest * tangent_rest;
    const double wx = sums[4] - means[2] * rest, wt = sums[5] - means[2] * tangent_rest;
    const double r = 1 / std::sqrt((squares < 0 ? 0 : squares) + args.eps), cube = r * r * r;
    const double across = -cube * xt, of_tangent = -cube * wx;
    const double of_x = -cube * (wt - 3 * r * r * xt * wx);
    made.along = static_cast<float>(r);
    made.across = static_cast<float>(across);
    made.offset = static_cast<float>(-r * tangent_rest - across * rest);
    made.of_x = static_cast<float>(of_x);
    made.of_tangent = static_cast<float>(of_tangent);
    made.constant = static_cast<float>(-across * means[2] - of_x * rest - of_tangent * tangent_rest);
    made.shift = static_cast<float>(-r * means[2] - of_tangent * rest);
    return made;
}

// Writes what is wanted of a run; the run's share of the gradient of its weight, or of its weights, is added.
template <bool own>
void write(const genfuse_norm_tangent_args& args, const NormTangentSet& set, const Run<own>& run,
           float* weight_gradient) {
    const auto all = [](float number) { return broadcast<f32>(number); };
    const f32 mean = all(set.mean), tangent_mean = all(set.tangent_mean), along = all(set.along);
    const f32 across = all(set.across);
    double of_weight[1] = {};
    const auto element = [&](int64_t i, int64_t left, f32* found) {
        const f32 xc = widen_part(run.x + i, left) - mean;
        const f32 tc = widen_part(run.tangent + i, left) - tangent_mean;
        const f32 normal = fma(along, tc, fma(across, xc, all(set.offset)));
        if (args.out) narrow_part(args.out + run.at + i, run.weight_at(i, left) * normal, left);
        if (!run.gradient) return;
        const f32 w = run.weighted(i, left);
        if (args.x_gradient) {
            const f32 of_x = fma(all(set.of_x), xc, fma(all(set.of_tangent), tc, all(set.constant)));
            narrow_part(args.x_gradient + run.at + i, fma(across, w, of_x), left);
        }
        if (args.tangent_gradient) {
            const f32 rest = fma(all(set.of_tangent), xc, all(set.shift));
            narrow_part(args.tangent_gradient + run.at + i, fma(along, w, rest), left);
        }
        found[0] = widen_part(run.gradient + i, left) * normal;
        if (own && weight_gradient) {
            narrow_part(weight_gradient + i, widen_part(weight_gradient + i, left) + found[0], left);
        }
    };
    if (!own && weight_gradient) {
        add_up(run.count, of_weight, element);
        *weight_gradient = static_cast<float>(of_weight[0]);
        return;
    }
    f32 unused[1];
    for (int64_t i = 0; i < run.count; i += kLanes<float>) element(i, run.count - i, unused);
}

}  // namespace

void norm_tangent_sets(const NormTangentJob& job, int64_t begin, int64_t end) {
    const genfuse_norm_tangent_args& args = *job.args;
    const bool own = args.weight_columns == args.columns && args.columns > 1;
    for (int64_t set = begin; set < end; ++set) {
        if (own) {
            job.sets[set] = measured<true>(args, set);
            continue;
        }
        const NormTangentSet found = measured<false>(args, set);
        runs<false>(args, set, 0, args.columns, [&](const Run<false>& run, int64_t k) {
            write(args, found, run, job.partial ? job.partial + set * args.weight_columns + k : nullptr);
        });
    }
}

void norm_tangent_columns(const NormTangentJob& job, int64_t begin, int64_t end) {
    const genfuse_norm_tangent_args& args = *job.args;
    const int64_t pieces = (args.columns + kNormTangentColumns - 1) / kNormTangentColumns;
    for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t row = unit / pieces, from = unit % pieces * kNormTangentColumns;
        const int64_t to =
            args.columns - from < kNormTangentColumns ? args.columns : from + kNormTangentColumns;
        float* const of_weight =
            args.weight_gradient ? args.weight_gradient + row * args.columns + from : nullptr;
        for (int64_t i = 0; of_weight && i < to - from; ++i) of_weight[i] = 0;
        for (int64_t set = row; set < args.rows; set += args.weight_rows) {
            write(args, job.sets[set], Run<true>(args, set, from, to), of_weight);
        }
    }
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
