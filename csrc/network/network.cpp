#include "network/network.h"

#include "network/crc32.h"

namespace genfuse {
namespace {

constexpr const char* kFormat = "genfuse-network";
constexpr int64_t kVersion = 1;

void check_run(genfuse_status status, const genfuse_message& message) {
    if (status == GENFUSE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (status != GENFUSE_OK) throw Refused(message.text, status);
}

void check_buffers(const char* kind, const std::vector<Port>& ports, const Buffer* buffers) {
    for (size_t i = 0; i < ports.size(); ++i) {
        if (!buffers[i].data || buffers[i].bytes != static_cast<size_t>(ports[i].bytes())) {
            throw Refused(std::string(kind) + " '" + ports[i].name + "' has " +
                              std::to_string(buffers[i].data ? buffers[i].bytes : 0) + " bytes, expected " +
                              std::to_string(ports[i].bytes()),
                          GENFUSE_INVALID_ARGUMENT);
        }
    }
}

}  // namespace

// Memory for one run, given back behind it.
class Network::Arena {
  public:
    Arena(const Network& network, size_t signature) : network_(network), signature_(signature) {
        {
            const std::lock_guard<std::mutex> locked(network.lock_);
            auto& free = network.free_[signature];
            if (!free.empty()) {
                block_ = std::move(free.back());
                free.pop_back();
                return;
            }
        }
        block_ = make_block(static_cast<size_t>(network.signatures_[signature].arena_bytes));
    }

    ~Arena() {
        const std::lock_guard<std::mutex> locked(network_.lock_);
        try {
            network_.free_[signature_].push_back(std::move(block_));
        } catch (const std::bad_alloc&) {  // then it goes
        }
    }

    char* data() const { return block_.get(); }

  private:
    const Network& network_;
    const size_t signature_;
    Block block_;
};

Network::Network(const char* path, int32_t threads)
    : file_(std::make_unique<Mapped>(path)), packed_(threads) {
    try {  // what the system says of the file has its name already
        read(file_->bytes());
    } catch (const Refused& why) {
        throw Refused(std::string(path) + ": " + why.what(), why.status);
    }
}

Network::Network(std::string_view bytes, int32_t threads) : packed_(threads) {
    read(bytes);
}

void Network::read(std::string_view bytes) {
    const TensorFile file = read_tensor_file(bytes);
    const Json* const format = file.metadata.find("format");
    if (!format || format->text != kFormat)
        throw Refused("it is no exported network: its metadata has no format \"genfuse-network\"");
    const std::string& text = member(file.metadata, "plan", Json::Kind::text).text;
    if (member(file.metadata, "plan_crc32", Json::Kind::text).text !=
        std::to_string(crc32(text.data(), text.size())))
        throw Refused("its plan is damaged: its checksum is not the one in the metadata");
    const Json plan = Json::parse(text);
    const int64_t version = member(plan, "version", Json::Kind::integer).integer;
    if (version != kVersion) {
        throw Refused("it has version " + std::to_string(version) + " of the format, this genfuse reads " +
                      std::to_string(kVersion) + ": export it again");
    }
    const std::vector<FileTensor> tensors = read_tensors(plan, file);
    for (const Json& signature : member(plan, "signatures", Json::Kind::list).list)
        signatures_.push_back(read_signature(signature, tensors));
    if (signatures_.empty()) throw Refused("its plan has no signatures");
    if (plan.object.size() != 4)
        throw Refused("its plan has other fields than version, producer, tensors and signatures");
    // Nothing is packed of a file that is refused.
    for (const Signature& signature : signatures_) {
        for (const auto& step : signature.steps) step->pack(packed_);
    }
    free_.resize(signatures_.size());
}

void Network::run(size_t number, const Buffer* inputs, const Buffer* outputs, int32_t threads) const {
    const Signature& signature = signatures_.at(number);
    check_buffers("input", signature.inputs, inputs);
    check_buffers("output", signature.outputs, outputs);
    const Arena arena(*this, number);
    genfuse_message message{};
    for (size_t i = 0; i < signature.inputs.size(); ++i) {
        genfuse_copy_args copy = signature.inputs[i].copy;
        copy.threads = threads;
        copy.to.data = arena.data() + signature.inputs[i].at;
        copy.source.data = inputs[i].data;
        check_run(genfuse_copy(&copy, &message), message);
    }
    for (const auto& step : signature.steps) check_run(step->run(arena.data(), threads, &message), message);
    for (size_t i = 0; i < signature.outputs.size(); ++i) {
        genfuse_copy_args copy = signature.outputs[i].copy;
        copy.threads = threads;
        copy.to.data = outputs[i].data;
        copy.source.data = arena.data() + signature.outputs[i].at;
        check_run(genfuse_copy(&copy, &message), message);
    }
}

}  // namespace genfuse
