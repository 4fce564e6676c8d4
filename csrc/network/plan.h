// What a network does for one form of its inputs: steps in one arena, read from a plan and checked.
#pragma once

#include <map>

#include "network/describe.h"
#include "network/file.h"
#include "network/memory.h"

namespace genfuse {

// Weights in the order that this processor's kernels read them, once for all units that share them.
class PackedWeights {
  public:
    explicit PackedWeights(int32_t threads) : threads_(threads) {}

    const float* of(const genfuse_conv& conv, const genfuse_weight& weight);

  private:
    const int32_t threads_;
    std::map<std::string, Block> made_;
};

// A kernel's call, all of whose memory lies in the arena or among the weights.
class Step {
  public:
    virtual ~Step() = default;
    // Once, after the whole plan was read, and before the first run.
    virtual void pack(PackedWeights& packed) = 0;
    virtual genfuse_status run(char* arena, int32_t threads, genfuse_message* message) const = 0;
};

// What is copied into the arena, or out of it: contiguous outside.
struct Port {
    std::string name;
    int32_t dtype;  // genfuse_dtype, or kInt64
    std::vector<int64_t> shape;
    genfuse_copy_args copy;  // whose side in the arena lies at `at`
    int64_t at;

    static constexpr int32_t kInt64 = 4;

    int64_t bytes() const { return elements * copy.item; }
    int64_t elements;
};

struct Signature {
    int64_t arena_bytes;
    std::vector<Port> inputs, outputs;
    std::vector<std::unique_ptr<Step>> steps;
};

// The tensors that a plan names, in its order, held against the file: each has the form and the checksum that
// the plan says.
std::vector<FileTensor> read_tensors(const Json& plan, const TensorFile& file);

// One signature of the plan, every operand within its memory and every number within its bounds.
Signature read_signature(const Json& signature, const std::vector<FileTensor>& tensors);

// A member of that kind. Refused where there is none.
const Json& member(const Json& object, const char* name, Json::Kind kind);

}  // namespace genfuse
