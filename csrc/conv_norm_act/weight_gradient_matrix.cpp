// The weight gradient by its definition on the processor's matrix unit, in bfloat16: a weight is a sum over
// pixels of the gradient times what its tap read.
//
// What the convolution read and the gradient lie on one grid of pixels, row by row and sample by sample, with
// zeros where either has nothing: a tap is then one distance along the grid, and all of its pixels are one
// sum. Both are laid out as the unit loads them, a kilobyte at a time: the input as pairs of neighbouring
// pixels, of which a tap's distance leaves out whole ones; the gradient as 32 pixels of 16 channels. For taps
// an odd distance away one of the two is there twice, the second time a pixel further on: the gradient, or of
// a transposed convolution, whose gradient has a grid a phase, the input.
#include "common/amx.h"
#include "conv_norm_act/stage.h"
#include "conv_norm_act/weight_gradient_job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

using matrix_gradient::Frame;

// Pixels whose factors for 16 output and 32 input channels take 16 KiB, and with their sums of nine taps fit
// the L1 cache; and those whose factors for 64 and 64 take 432 KiB.
constexpr int64_t kNearPixels = 128, kStretchPixels = 9 * kNearPixels;
constexpr int64_t kRowsTogether = 8;  // taps of 16 output channels whose sums stay near
constexpr int64_t kPanelBlocks = matrix::kPanel / kBlock;

// A row of 16 channels in float32, every `step`th pixel from the first on, as pairs, the first of which
// begins `before` pixels in front; zeros up to `columns`.
void pair_pixels(const float* pixels, int64_t count, int64_t step, int64_t before, int64_t columns,
                 float* to) {
    for (int64_t i = -before; i < columns - before; i += 2, to += kBlock) {
        for (int lane = 0; lane < kBlock; lane += kLanes<float>) {
            const auto pixel = [&](int64_t at) {
                return at >= 0 && at < count ? load<f32>(pixels + at * step * kBlock + lane) : f32{};
            };
            store(to + lane, paired(pixel(i), pixel(i + 1)));
        }
    }
}

void stage_input(const WeightGradientJob& job, const Frame& frame, int64_t sample, int64_t block) {
    const Geometry& geometry = *job.conv.geometry;
    const int64_t first = job.first_row * geometry.in_step[0];
    const int64_t left = static_cast<int64_t>(geometry.rows.size()) - first;
    const int64_t rows = left < frame.staged_rows ? left : frame.staged_rows;
    for (int64_t y = 0; y < frame.grid_rows * geometry.in_step[0]; ++y) {
        if (y < rows) {
            stage<bfloat16>(job.conv, job.first_sample + sample,
                            job.group * geometry.group_in + block * kBlock, lanes_of(geometry, block),
                            first + y, 1, frame.source, frame.wide);
        }
        for (int64_t x = 0; x < geometry.in_step[1]; ++x) {
            const int64_t count = ceil_divide(frame.columns - x, geometry.in_step[1]);
            const int64_t plane = y % geometry.in_step[0] * geometry.in_step[1] + x;
            const int64_t row = sample * frame.grid_rows + y / geometry.in_step[0];
            float* const to = job.inputs + block * frame.input_block +
                              plane * frame.input_copies * frame.input_plane + row * frame.pitch / 2 * kBlock;
            for (int64_t copy = 0; copy < frame.input_copies; ++copy) {
                pair_pixels(frame.wide + x * kBlock, y < rows ? count : 0, geometry.in_step[1], copy,
                            frame.pitch, to + copy * frame.input_plane);
            }
        }
    }
}

// Every `step`th of `count` pixels of 16 channels, from the first on, as a row of bfloat16 for each channel.
void spread_channels(const float* pixels, int64_t count, int64_t step, int64_t channel, bfloat16* to) {
    constexpr int lanes = kLanes<float>;
    for (int first = 0; first < kBlock; first += lanes) {
        for (int64_t i = 0; i < count; i += lanes) {
            f32 rows[lanes];
            for (int j = 0; j < lanes; ++j) {
                rows[j] = i + j < count ? load<f32>(pixels + (i + j) * step * kBlock + first) : f32{};
            }
            transpose(rows);
            for (int j = 0; j < lanes; ++j) narrow_part(to + (first + j) * channel + i, rows[j], count - i);
        }
    }
}

// A block of channels of all samples, of one pass: each channel's pixels in a line of its phase's grid, zeros
// where it has none.
void line_up_gradient(const WeightGradientJob& job, const Frame& frame, const Pass& pass, int64_t block) {
    const Geometry& geometry = *job.conv.geometry;
    const int64_t left = geometry.group_out - block * kBlock;
    const int64_t rows = geometry.pass_rows(pass) < job.last_row ? geometry.pass_rows(pass) : job.last_row;
    __builtin_memset(frame.lines, 0,
                     pass.phases.size() * static_cast<size_t>(frame.lines_phase) * sizeof(bfloat16));
    for (int64_t sample = 0; sample < job.samples_at_once; ++sample) {
        for (int64_t row = job.first_row; row < rows; ++row) {
            load_run<bfloat16>(*job.gradient, job.first_sample + sample,
                               job.group * geometry.group_out + block * kBlock,
                               static_cast<int>(left < kBlock ? left : kBlock),
                               pass.row + row * geometry.out_step[0], 0, geometry.out_width, frame.wide);
            bfloat16* to = reinterpret_cast<bfloat16*>(frame.lines) + matrix::kDepth +
                           sample * frame.grid_sample + (row - job.first_row) * frame.pitch;
            for (const Phase& phase : pass.phases) {
                spread_channels(frame.wide + phase.column * kBlock, geometry.phase_columns(phase),
                                geometry.out_step[1], frame.line, to);
                to += frame.lines_phase;
            }
        }
    }
}

// The lines as the unit's left factors, from the grid's first pixel on and, where there are two copies, from
// the one before it.
void block_gradient(const Frame& frame, int64_t phases, float* gradient) {
    constexpr size_t kBytes = matrix::kDepth * sizeof(bfloat16);
    char* to = reinterpret_cast<char*>(gradient);
    for (int64_t phase = 0; phase < phases; ++phase) {
        const bfloat16* const lines =
            reinterpret_cast<const bfloat16*>(frame.lines) + phase * frame.lines_phase;
        for (int64_t copy = 0; copy < frame.gradient_copies; ++copy) {
            for (int64_t pixel = 0; pixel < frame.grid; pixel += matrix::kDepth) {
                for (int channel = 0; channel < kBlock; ++channel, to += kBytes) {
                    __builtin_memcpy(to, lines + channel * frame.line + matrix::kDepth + pixel - copy,
                                     kBytes);
                }
            }
        }
    }
}

// A tap of 16 output channels: where its pixels of both begin, and its sums.
struct Row {
    const float* gradient;
    const float* input;
    float* sums;
};

// Adds the products of some pixels, whole products of them, to the sums of one or two rows and 16·wide input
// channels.
template <int tall, int wide>
void multiply(const Frame& frame, int64_t pixels, const Row* rows, bool fresh) {
    constexpr int64_t kSumBytes = matrix::kPanel * 4;
    const Row &upper = rows[0], &lower = rows[tall - 1];
    amx::begin_sums<tall, wide>(upper.sums, lower.sums, kBlock, kSumBytes, fresh);
    for (int64_t i = 0; i < pixels; i += matrix::kDepth) {
        const int64_t at = i / 2 * kBlock;
        amx::load<4>(upper.gradient + at, kBlock * 4);
        amx::load<6>(upper.input + at, kBlock * 4);
        amx::multiply<0, 4, 6>();
        if (wide > 1) {
            amx::load<7>(upper.input + frame.input_block + at, kBlock * 4);
            amx::multiply<1, 4, 7>();
        }
        if (tall == 1) continue;
        amx::load<5>(lower.gradient + at, kBlock * 4);
        amx::load<6>(lower.input + at, kBlock * 4);
        amx::multiply<2, 5, 6>();
        if (wide > 1) {
            amx::load<7>(lower.input + frame.input_block + at, kBlock * 4);
            amx::multiply<3, 5, 7>();
        }
    }
    amx::end_sums<tall, wide>(upper.sums, lower.sums, kBlock, kSumBytes);
}

using Multiply = void (*)(const Frame&, int64_t, const Row*, bool);

Multiply kernel_for(int count, bool whole) {
    if (count > 1) return whole ? multiply<2, 2> : multiply<2, 1>;
    return whole ? multiply<1, 2> : multiply<1, 1>;
}

struct Panel {
    int64_t row_block, row_blocks;  // of output channels
    int64_t lane_block;             // of 32 input channels
    float* sums;                    // [block][place in the kernel][output channel][input channel]
};

// The products of some pixels from the grid's `first` on, in pairs of rows.
void sum_pixels(const WeightGradientJob& job, const Frame& frame, const Panel& panel, int64_t first,
                int64_t pixels) {
    const Geometry& geometry = *job.conv.geometry;
    const bool whole = blocks_of(geometry.group_in) - panel.lane_block > 1;
    const float* const input = job.inputs + panel.lane_block * frame.input_block + first / 2 * kBlock;
    Row rows[2];
    int count = 0;
    for (int64_t block = 0; block < panel.row_blocks; ++block) {
        const float* gradient =
            job.gradients + (panel.row_block + block) * frame.gradient_block + first / 2 * kBlock;
        for (const Pass& pass : geometry.passes) {
            for (const Phase& phase : pass.phases) {
                for (const Tap& tap : phase.taps) {
                    const int64_t y = tap.y - geometry.first_tap[0], x = tap.x - geometry.first_tap[1];
                    const int64_t plane =
                        y % geometry.in_step[0] * geometry.in_step[1] + x % geometry.in_step[1];
                    const int64_t place = tap.kernel_y * job.conv.args->conv.kernel[1] + tap.kernel_x;
                    const int64_t ahead = y / geometry.in_step[0] * frame.pitch + x / geometry.in_step[1];
                    const int64_t odd = ahead % 2, later = frame.input_copies > 1 ? odd : 0;
                    rows[count++] = {gradient + (odd - later) * frame.gradient_plane,
                                     input + (plane * frame.input_copies + later) * frame.input_plane +
                                         (ahead + later) / 2 * kBlock,
                                     panel.sums + (block * frame.taps + place) * frame.sums_tap};
                    if (count < 2) continue;
                    kernel_for(count, whole)(frame, pixels, rows, first == 0);
                    count = 0;
                }
                gradient += frame.gradient_copies * frame.gradient_plane;
            }
        }
    }
    if (count > 0) kernel_for(count, whole)(frame, pixels, rows, first == 0);
}

void add_run(const float* from, int64_t count, bool accumulate, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = (accumulate ? to[i] : 0.0f) + from[i];
}

void add_run(const float* from, int64_t count, bool, bfloat16* to) {
    narrow_run(from, count, to);
}

// The weights of one channel with 16 or 32 of the other side, from its sums: all taps of each side by side.
// `step` from one to the next in the sums.
void line_up_weights(const Frame& frame, const float* sums, int64_t step) {
    for (int64_t tap = 0; tap < frame.taps; ++tap, sums += frame.sums_tap) {
        float* const to = frame.row + tap;
        if (step == 1) {
            for (int lane = 0; lane < matrix::kPanel; lane += kLanes<float>) {
                scatter(to + lane * frame.taps, load<f32>(sums + lane), frame.taps);
            }
        } else {
            for (int lane = 0; lane < kBlock; ++lane) to[lane * frame.taps] = sums[lane * step];
        }
    }
}

// As weights lie, in runs: a convolution's of an output channel and all inputs, a transposed one's of an
// input channel and all outputs.
template <class Stored>
void write_panel(const WeightGradientJob& job, const Frame& frame, const Panel& panel, Stored* weight) {
    const Geometry& geometry = *job.conv.geometry;
    const bool transposed = job.conv.args->conv.transposed;
    const int64_t first = panel.lane_block * kBlock, left = geometry.group_in - first;
    const int64_t inputs = left < matrix::kPanel ? left : matrix::kPanel;
    for (int64_t block = 0; block < panel.row_blocks; ++block) {
        const float* const sums = panel.sums + block * frame.taps * frame.sums_tap;
        const int64_t k = (panel.row_block + block) * kBlock, above = geometry.group_out - k;
        const int64_t outputs = above < kBlock ? above : kBlock;
        for (int64_t i = 0; i < (transposed ? inputs : outputs); ++i) {
            line_up_weights(frame, sums + i * (transposed ? 1 : matrix::kPanel),
                            transposed ? matrix::kPanel : 1);
            add_run(
                frame.row, (transposed ? outputs : inputs) * frame.taps, job.accumulate,
                weight + place_of(job, job.group, first + (transposed ? i : 0), k + (transposed ? 0 : i)));
        }
    }
}

}  // namespace

void matrix_gradient_input_unit(const WeightGradientJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const int64_t blocks = blocks_of(job.conv.geometry->group_in);
    const int64_t block = unit % blocks, sample = unit / blocks;
    stage_input(job, frame, sample, block);
    if (sample + 1 < job.samples_at_once) return;
    for (int64_t plane = 0; plane < frame.input_planes * frame.input_copies;
         ++plane) {  // behind the last sample
        float* const to = job.inputs + block * frame.input_block + plane * frame.input_plane;
        for (int64_t i = job.samples_at_once * frame.grid_sample / 2 * kBlock; i < frame.input_plane; ++i)
            to[i] = 0;
    }
}

void matrix_gradient_output_unit(const WeightGradientJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const std::vector<Pass>& passes = job.conv.geometry->passes;
    const int64_t number = unit % static_cast<int64_t>(passes.size());
    const int64_t block = unit / static_cast<int64_t>(passes.size());
    const Pass& pass = passes[static_cast<size_t>(number)];
    const int64_t phases = static_cast<int64_t>(pass.phases.size());
    line_up_gradient(job, frame, pass, block);
    block_gradient(frame, phases,
                   job.gradients + block * frame.gradient_block +
                       number * phases * frame.gradient_copies * frame.gradient_plane);
}

// Some pixels' factors, which come from a cache that all threads share, meet in the L2 cache before the next
// ones do; of these few at once, with a panel's sums, in the L1 cache.
void matrix_gradient_sum_unit(const WeightGradientJob& job, int64_t unit, int slot) {
    const Frame frame(job, job.memory + slot * job.memory_a_slot);
    const Geometry& geometry = *job.conv.geometry;
    const int64_t lane_parts = parts_of(geometry.group_in, job.lane_part);
    const int64_t row = unit / lane_parts * job.row_part, lane = unit % lane_parts * job.lane_part;
    const int64_t rows = blocks_there(geometry.group_out, row, job.row_part);
    const int64_t lanes = blocks_there(geometry.group_in, lane, job.lane_part);
    const int64_t together = frame.taps < kRowsTogether ? kRowsTogether / frame.taps : 1;
    const auto panels = [&](auto run) {
        float* sums = frame.sums;
        for (int64_t i = 0; i < lanes; i += kPanelBlocks) {
            for (int64_t j = 0; j < rows; j += together) {
                const int64_t some = rows - j < together ? rows - j : together;
                run(Panel{row + j, some, lane + i, sums});
                sums += some * frame.taps * frame.sums_tap;
            }
        }
    };
    const auto in_pieces = [](int64_t begin, int64_t end, int64_t step, auto run) {
        for (int64_t i = begin; i < end; i += step) run(i, end - i < step ? end : i + step);
    };
    {
        const amx::Use use;
        in_pieces(0, frame.grid, kStretchPixels, [&](int64_t first, int64_t last) {
            panels([&](const Panel& panel) {
                in_pieces(first, last, kNearPixels, [&](int64_t begin, int64_t end) {
                    sum_pixels(job, frame, panel, begin, end - begin);
                });
            });
        });
    }
    panels([&](const Panel& panel) {
        if (job.weight) return write_panel(job, frame, panel, job.weight);
        write_panel(job, frame, panel, static_cast<bfloat16*>(job.rounded));
    });
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
