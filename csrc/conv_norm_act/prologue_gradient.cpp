// The gradient of the prologue: one pass where the statistics are constants, else a pass for the sums and a
// second one, over what the first kept in the cache, or over memory once more where that is too much. The
// activation's derivative and dropout's mask are computed again rather than read.
#include "conv_norm_act/prologue_gradient.h"

#include "common/activation_gradient.h"
#include "conv_norm_act/dropout.h"
#include "conv_norm_act/statistics.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// Σg and Σg·(x − centre) of 16 channels: pieces of at most 128 pixels in float32, merged in double.
class GradientSums {
  public:
    void add(const float* x, const float* g, const float* centre, int64_t pixels, bool ends_piece) {
        constexpr int64_t most = 128;
        for (int64_t first = 0; first < pixels; first += most) {
            const int64_t end = first + most < pixels ? first + most : pixels;
            for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
                const f32 centres = load<f32>(centre + lane);
                f32 plain = load<f32>(piece_plain_ + lane), weighted = load<f32>(piece_weighted_ + lane);
                for (int64_t i = first * kBlockLanes + lane; i < end * kBlockLanes; i += kBlockLanes) {
                    const f32 value = load<f32>(g + i);
                    plain += value;
                    weighted = fma(value, load<f32>(x + i) - centres, weighted);
                }
                store(piece_plain_ + lane, plain);
                store(piece_weighted_ + lane, weighted);
            }
            if (ends_piece || end < pixels) merge();
        }
    }

    // Onto what stands there.
    void add_into(int lanes, double* sums) const {
        for (int lane = 0; lane < lanes; ++lane) {
            sums[2 * lane] += plain_[lane];
            sums[2 * lane + 1] += weighted_[lane];
        }
    }

  private:
    void merge() {
        for (int lane = 0; lane < kBlockLanes; ++lane) {
            plain_[lane] += static_cast<double>(piece_plain_[lane]);
            weighted_[lane] += static_cast<double>(piece_weighted_[lane]);
            piece_plain_[lane] = piece_weighted_[lane] = 0;
        }
    }

    double plain_[kBlockLanes] = {}, weighted_[kBlockLanes] = {};
    float piece_plain_[kBlockLanes] = {}, piece_weighted_[kBlockLanes] = {};
};

// The lines of a row that is read next, fetched one by one while arithmetic runs: all at once they would wait
// for each other.
class NextRow {
  public:
    template <class Stored>
    NextRow(const genfuse_image& image, int64_t n, int64_t c, int lanes, int64_t y, int64_t width, Stored) {
        constexpr int64_t size = sizeof(Stored), line = 64;
        const bool planar = image.layout == GENFUSE_PLANAR;
        at_ = reinterpret_cast<const char*>(row_of<const Stored>(image, n, c, y));
        run_ = here_ = planar ? (width * size + line - 1) / line : width;
        step_ = planar ? line : image.stride_w * size;
        skip_ = planar ? image.stride_c * size - run_ * line : 0;
        left_ = planar ? lanes * run_ : width;
    }

    GENFUSE_INLINE void fetch() {
        if (left_ == 0) return;
        --left_;
        __builtin_prefetch(at_);
        at_ += step_;
        if (--here_ > 0) return;
        here_ = run_;
        at_ += skip_;
    }

  private:
    const char* at_;
    int64_t run_, here_, step_, skip_, left_;
};

// The rows of a sample's channel block, 16 floats a pixel.
template <class Stored>
class Rows {
  public:
    Rows(const GradientJob& job, int64_t n, int64_t block)
        : job_(job),
          n_(n),
          block_(gradient_block(job, block)),
          first_(n * job.padded + block * kBlock),
          dropout_(*job.read, n, block_.c) {}

    void read_x(int64_t y, float* x) const {
        load_run<Stored>(*block_.from, n_, block_.own, block_.lanes, y, 0, job_.args->width, x);
    }

    // The gradient times mask and derivative; of x, or of what a norm per pixel has made of it.
    void read_gradient(int64_t y, const float* x, float* g) const {
        const int64_t width = job_.args->width;
        load_run<Stored>(job_.args->gradient, n_, block_.c, block_.lanes, y, 0, width, g);
        dropout_.apply(y, g);
        const int64_t next = y + 1 < job_.args->height ? y + 1 : y;
        NextRow next_x(*block_.from, n_, block_.own, block_.lanes, next, width, Stored{});
        NextRow next_g(job_.args->gradient, n_, block_.c, block_.lanes, next, width, Stored{});
        with_activation(job_.args->prologue.activation, [&](auto kind) {
            const f32 slope = broadcast<f32>(job_.args->prologue.slope);
            for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
                const f32 scales = scale(lane), offsets = load<f32>(job_.offset + first_ + lane);
                for (int64_t i = lane; i < width * kBlockLanes; i += kBlockLanes) {
                    next_x.fetch();
                    next_g.fetch();
                    const f32 n = fma(load<f32>(x + i), scales, offsets);
                    store(g + i, load<f32>(g + i) * activation_gradient<decltype(kind)::value>(n, slope));
                }
            }
        });
    }

    void add_to(GradientSums& sums, int64_t y, const float* x, const float* g) const {
        sums.add(x, g, job_.centre + first_, job_.args->width, (y + 1) % job_.rows_a_piece == 0);
    }

    // x's gradient from g, in place of it; `room` for a row.
    void write(int64_t y, const float* x, float* g, float* room) const {
        if (!is_written()) return;
        const int64_t count = job_.args->width * kBlockLanes;
        for (int lane = 0; lane < kBlockLanes; lane += kLanes<float>) {
            const f32 scales = scale(lane);
            if (!job_.total) {
                for (int64_t i = lane; i < count; i += kBlockLanes) store(g + i, load<f32>(g + i) * scales);
                continue;
            }
            const f32 centres = load<f32>(job_.centre + first_ + lane);
            const f32 tilts = load<f32>(job_.tilt + first_ + lane);
            const f32 constants = load<f32>(job_.constant + first_ + lane);
            for (int64_t i = lane; i < count; i += kBlockLanes) {
                const f32 rest = fma(tilts, load<f32>(x + i) - centres, constants);
                store(g + i, fma(scales, load<f32>(g + i), rest));
            }
        }
        put(y, g, room);
    }

    // A row of x's gradient to memory.
    void put(int64_t y, float* g, float* room) const {
        const int64_t width = job_.args->width;
        if (block_.added->data) {
            load_run<Stored>(*block_.added, n_, block_.own, block_.lanes, y, 0, width, room);
            for (int64_t i = 0; i < width * kBlockLanes; i += kLanes<float>) {
                store(g + i, load<f32>(g + i) + load<f32>(room + i));
            }
        }
        store_run<Stored>(*block_.to, n_, block_.own, block_.lanes, y, 0, width, g);
    }

    bool is_written() const { return block_.to->data; }

    f32 scale(int lane) const { return load<f32>(job_.scale + first_ + lane); }

    // The channels' own place in (..., C, 2), of one sample.
    double* own(double* sums) const { return sums + 2 * block_.c; }

    int lanes() const { return block_.lanes; }

  private:
    const GradientJob& job_;
    const int64_t n_;
    const GradientBlock block_;
    const int64_t first_;  // in job.scale and what is laid out alike
    const Dropout dropout_;
};

template <class Stored>
void run_stretch(const GradientJob& job, int64_t unit, float* memory) {
    const int64_t row = job.args->width * kBlock, blocks = gradient_blocks(job);
    const int64_t parts = (blocks + job.blocks_a_unit - 1) / job.blocks_a_unit, stretch = unit / parts;
    const int64_t n = stretch / job.stretches, first = unit % parts * job.blocks_a_unit;
    const int64_t last = first + job.blocks_a_unit < blocks ? first + job.blocks_a_unit : blocks;
    const int64_t top = stretch % job.stretches * job.rows_a_stretch, bottom = top + job.rows_a_stretch;
    GradientSums sums[kMostTogether];
    float *const x = memory, *const g = x + row;
    for (int64_t y = top; y < bottom && y < job.args->height; ++y) {
        for (int64_t block = first; block < last; ++block) {
            const Rows<Stored> rows(job, n, block);
            rows.read_x(y, x);
            rows.read_gradient(y, x, g);
            if (job.partial) rows.add_to(sums[block - first], y, x, g);
            if (job.writes) rows.write(y, x, g, g + row);
        }
    }
    for (int64_t block = first; job.partial && block < last; ++block) {
        const Rows<Stored> rows(job, n, block);
        sums[block - first].add_into(rows.lanes(), rows.own(job.partial + stretch * job.channels * 2));
    }
}

template <class Stored>
void run_set(const GradientJob& job, int64_t unit, float* memory) {
    const int64_t height = job.args->height, row = job.args->width * kBlock;
    const int64_t part = unit % job.parts, first = part == 0 ? 0 : job.ends[part - 1], end = job.ends[part];
    const int64_t first_n = unit / job.parts * job.samples_a_set, end_n = first_n + job.samples_a_set;
    float *const room = memory, *kept = room + row;  // x and g of each row
    // Calls run(rows, y, x, g, number) for each row of blocks that are read in turn, then done(n, block,
    // end).
    const auto each_row = [&](auto run, auto done) {
        float* x = kept;
        for (int64_t n = first_n; n < end_n; ++n) {
            for (int64_t block = first; block < end; block += job.blocks_together) {
                const int64_t turn = block + job.blocks_together < end ? block + job.blocks_together : end;
                for (int64_t y = 0; y < height; ++y) {
                    for (int64_t i = block; i < turn; ++i, x += 2 * row) {
                        run(Rows<Stored>(job, n, i), y, x, x + row, i - block);
                    }
                }
                done(n, block, turn);
            }
        }
    };
    GradientSums sums[kMostTogether];
    each_row(
        [&](const Rows<Stored>& rows, int64_t y, float* x, float* g, int64_t number) {
            rows.read_x(y, x);
            rows.read_gradient(y, x, g);
            rows.add_to(sums[number], y, x, g);
        },
        [&](int64_t n, int64_t block, int64_t turn) {
            for (int64_t i = block; i < turn; ++i) {
                const Rows<Stored> rows(job, n, i);
                sums[i - block].add_into(rows.lanes(), rows.own(job.sums + n * job.channels * 2));
                sums[i - block] = GradientSums();
            }
        });
    const GradientBlock last = gradient_block(job, end - 1);
    fold_gradient(job, first_n, end_n, gradient_block(job, first).c, last.c + last.lanes);
    each_row(
        [&](const Rows<Stored>& rows, int64_t y, float* x, float* g, int64_t) { rows.write(y, x, g, room); },
        [](int64_t, int64_t, int64_t) {});
}

// The norm of each pixel over its channels: with u = scale·g and x̂ the normalised pixel,
// dx = (u − mean(u) − x̂·mean(u·x̂))/deviation, the first mean only where x's was subtracted.
template <class Stored>
void run_pixels(const GradientJob& job, int64_t unit, int slot) {
    const genfuse_prologue_gradient_args& args = *job.args;
    const int64_t width = args.width, row = width * kBlock, blocks = gradient_blocks(job);
    const int64_t n = unit / job.stretches;
    const int64_t first = unit % job.stretches * job.rows_a_stretch, end = first + job.rows_a_stretch;
    float* const plain = job.memory + slot * job.memory_a_slot;  // sums over blocks of u, and of u·x̂
    float *const weighted = plain + row, *const kept = weighted + row;
    for (int64_t y = first; y < end && y < args.height; ++y) {
        const float* const scale = job.read->pixel_scale + (n * args.height + y) * width;
        const float* const offset = job.read->pixel_offset + (n * args.height + y) * width;
        __builtin_memset(plain, 0, static_cast<size_t>(2 * row) * sizeof(float));
        for (int64_t block = 0; block < blocks; ++block) {
            const Rows<Stored> rows(job, n, block);
            float *const x = kept + 2 * block * row, *const g = x + row;
            rows.read_x(y, x);
            for (int64_t i = 0; i < row; i += kLanes<float>) {
                const int64_t pixel = i / kBlockLanes;
                store(x + i,
                      fma(load<f32>(x + i), broadcast<f32>(scale[pixel]), broadcast<f32>(offset[pixel])));
            }
            rows.read_gradient(y, x, g);
            if (job.partial) {
                GradientSums sums;
                rows.add_to(sums, y, x, g);
                sums.add_into(rows.lanes(), rows.own(job.partial + unit * job.channels * 2));
            }
            for (int64_t i = 0; i < row; i += kLanes<float>) {
                const f32 u = load<f32>(g + i) * rows.scale(static_cast<int>(i % kBlockLanes));
                store(g + i, u);
                store(plain + i, load<f32>(plain + i) + u);
                store(weighted + i, fma(u, load<f32>(x + i), load<f32>(weighted + i)));
            }
        }
        if (!job.writes) continue;
        const float share = 1.0f / static_cast<float>(job.channels);
        for (int64_t pixel = 0; pixel < width; ++pixel) {
            float sum = 0, product = 0;
            for (int lane = 0; lane < kBlockLanes; ++lane) {
                sum += plain[pixel * kBlockLanes + lane];
                product += weighted[pixel * kBlockLanes + lane];
            }
            plain[pixel] = args.prologue.centred ? sum * share : 0.0f;
            weighted[pixel] = product * share;
        }
        for (int64_t block = 0; block < blocks; ++block) {
            const Rows<Stored> rows(job, n, block);
            if (!rows.is_written()) continue;
            float *const x = kept + 2 * block * row, *const g = x + row;
            for (int64_t i = 0; i < row; i += kLanes<float>) {
                const int64_t pixel = i / kBlockLanes;
                const f32 rest =
                    fma(load<f32>(x + i), broadcast<f32>(-weighted[pixel]), broadcast<f32>(-plain[pixel]));
                store(g + i, (load<f32>(g + i) + rest) * broadcast<f32>(scale[pixel]));
            }
            rows.put(y, g, x);
        }
    }
}

}  // namespace

void gradient_stretch_unit(const GradientJob& job, int64_t unit, int slot) {
    float* const memory = job.memory + slot * job.memory_a_slot;
    with_stored(job.args->dtype, [&](auto stored) { run_stretch<decltype(stored)>(job, unit, memory); });
}

void gradient_set_unit(const GradientJob& job, int64_t unit, int slot) {
    float* const memory = job.memory + slot * job.memory_a_slot;
    with_stored(job.args->dtype, [&](auto stored) { run_set<decltype(stored)>(job, unit, memory); });
}

void gradient_pixel_unit(const GradientJob& job, int64_t unit, int slot) {
    with_stored(job.args->dtype, [&](auto stored) { run_pixels<decltype(stored)>(job, unit, slot); });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
