// UniPC: a multistep predictor, and a corrector that uses the same model call as the next step.
#include "samplers/phi.h"
#include "samplers/solvers.h"

namespace genfuse {
namespace samplers {
namespace {

using Past = std::vector<Combination>;

// w of Σ_j w_j·nodes_j^i = moments_i, i = 0, 1, .. (Björck & Pereyra 1970; Golub & Van Loan, 4.6.2).
Array from_moments(const Array& nodes, Array moments) {
    Array& w = moments;
    const size_t last = nodes.size() - 1;
    for (size_t k = 0; k < last; ++k) {
        for (size_t i = last; i > k; --i) w[i] -= nodes[k] * w[i - 1];
    }
    for (size_t k = last; k-- > 0;) {
        for (size_t i = k + 1; i <= last; ++i) w[i] /= nodes[i] - nodes[i - k - 1];
        for (size_t i = k; i < last; ++i) w[i] -= w[i + 1];
    }
    return moments;
}

// The step from node i to i + 1 with p predictions, at nodes i, i − 1, ..: `past` is newest first.
class Interval {
  public:
    Interval(const Grid& grid, size_t i, int64_t p, bool predict_x0, bool bh1)
        : grid_(grid), i_(i), p_(p), predict_x0_(predict_x0) {
        const double h = grid.log_snr[i + 1] - grid.log_snr[i];
        h_ = predict_x0 ? -h : h;  // the exponential integrators of both then read the same
        b_ = bh1 ? h_ : z_phi(1, h_);
        scale_ = (predict_x0 ? grid.alpha : grid.sigma)[i + 1];
    }

    // sigma'/sigma·x − alpha'·(e^{−h} − 1)·x0, or alpha'/alpha·x − sigma'·(e^h − 1)·epsilon: DDIM.
    Combination first_order(const Combination& x, const Combination& f) const {
        const double alpha = grid_.alpha[i_], alpha_next = grid_.alpha[i_ + 1];
        const double sigma = grid_.sigma[i_], sigma_next = grid_.sigma[i_ + 1];
        if (predict_x0_) return x * (sigma_next / sigma) - f * (alpha_next * z_phi(1, h_));
        if (sigma_next == 0) return x * (alpha_next / alpha) - f * (alpha_next * sigma / alpha);
        return x * (alpha_next / alpha) - f * (sigma_next * z_phi(1, h_));
    }

    // What UniP adds to the first-order step (eq. 3 and 8).
    Combination predicted(const Past& past) const {
        if (p_ == 1) return ZERO;
        const Array ratios = ratios_();
        return sum(p_ == 2 ? Array{0.5} : solve(ratios), differences(past, ratios));
    }

    // What UniC adds to it, with f the prediction at the step's end (eq. 4 and 9).
    Combination corrected(const Past& past, const Combination& f) const {
        Array ratios = ratios_();
        Past all = differences(past, ratios);
        all.push_back(f - past[0]);
        ratios.push_back(1.0);
        return sum(p_ == 1 ? Array{0.5} : solve(ratios), all);
    }

  private:
    const Grid& grid_;
    const size_t i_;
    const int64_t p_;
    const bool predict_x0_;
    double h_, b_, scale_;

    // r_m of the p − 1 nodes before the step's.
    Array ratios_() const {
        const Array& log_snr = grid_.log_snr;
        const double h = log_snr[i_ + 1] - log_snr[i_];
        Array ratios;
        for (size_t m = 1; m < static_cast<size_t>(p_); ++m) {
            ratios.push_back((log_snr[i_ - m] - log_snr[i_]) / h);
        }
        return ratios;
    }

    // D_m/r_m.
    static Past differences(const Past& past, const Array& ratios) {
        Past all;
        for (size_t m = 0; m < ratios.size(); ++m) all.push_back((past[m + 1] - past[0]) / ratios[m]);
        return all;
    }

    // a_p of R_p(h)·a_p·B(h) = φ_p(h): R's rows powers of r, φ's entries n!·h·φ_{n+1}(h) (eq. 5 to 7).
    Array solve(const Array& ratios) const {
        Array moments;
        double factorial = 1.0;
        for (size_t n = 1; n <= ratios.size(); ++n) {
            factorial *= static_cast<double>(n);
            moments.push_back(factorial * z_phi(static_cast<int>(n) + 1, h_) / b_);
        }
        return from_moments(ratios, moments);
    }

    Combination sum(const Array& weights, const Past& differences) const {
        Combination total = ZERO;
        for (size_t m = 0; m < weights.size(); ++m) {
            total = total + differences[m] * (weights[m] * -scale_ * b_);
        }
        return total;
    }
};

}  // namespace

// UniPC-p (Zhao et al. 2023, algorithms 1 and 2 for x0, 5 and 6 for epsilon): the corrected sample is the
// predicted one, which is x, plus predictions alone.
Table unipc(const Problem& problem, Options& options) {
    static const char* const variants[] = {"bh1", "bh2"};
    const Grid& grid = problem.grid;
    const Array& log_snr = grid.log_snr;
    const int64_t order = options.within("order", 2, 1, GENFUSE_HISTORY_SLOTS);
    const bool predict_x0 = options.flag("predict_x0", true);
    const bool bh1 = options.choice("variant", "bh2", variants) == 0;
    const bool lower_order_final = options.flag("lower_order_final", true);
    const std::vector<int64_t> disable_corrector = options.integers("disable_corrector");
    options.finish();
    const int64_t steps = grid.steps();
    const int64_t first = grid.alpha[0] == 0;  // derivatives need a finite lambda
    const auto disabled = [&](int64_t row) {
        for (const int64_t one : disable_corrector) {
            if (one == row) return true;
        }
        return false;
    };
    int64_t last_order = 0;
    Table table;
    for (int64_t i = 0; i < steps; ++i) {
        const size_t at = static_cast<size_t>(i);
        const Prediction raw = problem.prediction.at(grid, at);
        const Prediction now = clipped(raw, problem.clip, grid.alpha[at], grid.sigma[at]);
        const Combination& f = predict_x0 ? now.x0 : now.epsilon;
        Past past;
        for (int64_t back = 1; back <= order; ++back) past.push_back(HISTORY[(i - back + order) % order]);
        Combination x = X;
        if (i > 0 && !disabled(i - 1) && isfinite(log_snr[at] - log_snr[at - 1])) {
            const Interval before(grid, at - 1, last_order, predict_x0, bh1);
            x = x + before.corrected(past, f) - before.predicted(past);
        }
        last_order = most(1, least(least(order, i - first + 1), lower_order_final ? steps - i : order));
        const double h = log_snr[at + 1] - log_snr[at];
        if (log_snr[at + 1] == log_snr[at] || !isfinite(h)) last_order = 1;
        const Interval step(grid, at, last_order, predict_x0, bh1);
        Past newest{f};
        newest.insert(newest.end(), past.begin(), past.end());
        const Combination y = step.first_order(x, f) + step.predicted(newest);
        table.add(grid.timesteps[at], raw, y, storing(problem.clip, &f, i % order));
    }
    return table;
}

}  // namespace samplers
}  // namespace genfuse
