// A network that was exported: its file in memory, its plans, and what its runs work in.
#pragma once

#include <mutex>

#include "network/plan.h"

namespace genfuse {

struct Buffer {
    void* data;
    size_t bytes;
};

class Network {
  public:
    // From a file, or from its bytes, which then have to stay. Refused, or std::bad_alloc.
    Network(const char* path, int32_t threads);
    Network(std::string_view bytes, int32_t threads);

    const std::vector<Signature>& signatures() const { return signatures_; }

    // Contiguous buffers, one an input or output of that signature, of just its bytes. Several threads may
    // run a network at once. Refused, or std::bad_alloc, and then the outputs are as they were.
    void run(size_t signature, const Buffer* inputs, const Buffer* outputs, int32_t threads) const;

  private:
    class Arena;

    void read(std::string_view bytes);

    const std::unique_ptr<Mapped> file_;
    std::vector<Signature> signatures_;
    PackedWeights packed_;
    mutable std::mutex lock_;
    mutable std::vector<std::vector<Block>> free_;  // arenas that no run is in, of each signature
};

}  // namespace genfuse
