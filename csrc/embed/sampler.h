// A sampler of the C interface: a table, and what lives between its steps.
#pragma once

#include <memory>
#include <vector>

#include "include/genfuse.h"
#include "samplers/table.h"

namespace genfuse {

// All elements of a shape that can be worked with; anything else is refused.
int64_t checked_elements(const genfuse_shape& shape);

// 0: as many as the process has cores.
int32_t threads_of(int32_t given);

}  // namespace genfuse

struct genfuse_sampler {
  public:
    genfuse_sampler(const char* name, int64_t steps, const genfuse_shape& shape,
                    const genfuse_sampler_options& options);

    const genfuse::samplers::Table& table() const { return table_; }
    bool learned_variance() const { return table_.any(GENFUSE_COLUMN_log_std_v); }

    // From noise, or from pictures x0 where these are given; x, contiguous, may be NULL where they are not.
    void begin(const int64_t* seeds, const void* x0, void* x);
    void begin_sample(int64_t n, int64_t seed, void* x);

    void add_noise(int64_t i, const int64_t* seeds, const void* x0, void* noisy) const;
    void scale_input(int64_t i, const void* x, void* seen) const;
    void step(int64_t i, const genfuse_step_inputs& inputs);

    const genfuse_shape& shape() const { return shape_; }
    int64_t elements() const { return shape_.size[0] * numel_; }

  private:
    genfuse_shape shape_;
    int64_t numel_;  // of a sample
    size_t item_;    // bytes of an element
    int32_t threads_;
    genfuse::samplers::Table table_;
    genfuse::samplers::Array forward_rows_;  // (rows, GENFUSE_ROW): what add_noise runs
    std::vector<unsigned char> reads_, stores_,
        reduces_;  // of each row: bits of history slots; whether it reduces
    int slots_;
    std::unique_ptr<unsigned char[]> history_;
    genfuse_tensor slot_[GENFUSE_HISTORY_SLOTS] = {};
    std::unique_ptr<double[]> scales_;  // (N, 2), in the dtype that sampler_reduce writes
    std::vector<int64_t> seeds_;
    std::vector<unsigned char> written_;  // of each sample, a bit a slot
    bool begun_ = false;

    void allocate();
    void draw(const int64_t* seeds, int64_t count, void* x) const;
    void check_row(int64_t i) const;
    void place_history(const genfuse_tensor& like);
    bool nothing_stored() const;
    void check_memory(const genfuse_step_inputs& inputs, const genfuse_tensor& out) const;
    void run(int64_t i, const genfuse_step_inputs& inputs, bool reduces);
    void reduce(int64_t i, const genfuse_step_inputs& inputs) const;
    void scale(double factor, const genfuse_shape& shape, const void* from, void* to) const;
};
