// Memory that outlives a call: blocks for results, and what threads keep to work in.
#include "bindings/bindings.h"
#include "common/arena.h"
#include "common/block_cache.h"

namespace py = pybind11;

namespace genfuse {
namespace {

// Memory that Python owns; it goes back to the cache with the object.
class ResultBlock {
  public:
    explicit ResultBlock(size_t bytes) : block_(block_cache::take(bytes)), bytes_(bytes) {}
    ResultBlock(const ResultBlock&) = delete;
    ~ResultBlock() { block_cache::give(block_); }

    py::buffer_info buffer() const {
        return {static_cast<uint8_t*>(block_.data), static_cast<py::ssize_t>(bytes_)};
    }

  private:
    const block_cache::Block block_;
    const size_t bytes_;
};

}  // namespace

void bind_memory(py::module_& module) {
    py::class_<ResultBlock>(module, "ResultBlock", py::buffer_protocol(),
                            "Bytes for a result, which may have been another's before.")
        .def(py::init<size_t>(), py::arg("nbytes"))
        .def_buffer([](const ResultBlock& block) { return block.buffer(); });
    module.def(
        "held_blocks",
        [] {
            const block_cache::Held held = block_cache::held();
            return py::make_tuple(held.used, held.free, held.limit);
        },
        "(bytes of results in use, bytes that are free and kept, the most that are kept).");
    module.def("set_block_limit", &block_cache::set_limit, py::arg("nbytes"));
    module.def("empty_block_cache", &block_cache::empty);
    module.def("arena_peak_bytes", &arena_peak_bytes, "The most scratch memory held so far.");
}

}  // namespace genfuse
