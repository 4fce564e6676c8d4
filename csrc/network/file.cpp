#include "network/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "network/fields.h"

namespace genfuse {
namespace {

constexpr size_t kLengthBytes = 8, kMostHeader = size_t{32} << 20;

[[noreturn]] void refuse_system(const char* path, const char* what) {
    throw Refused(std::string(path) + " cannot be " + what + ": " + strerror(errno), GENFUSE_IO_ERROR);
}

FileTensor read_tensor(const std::string& name, const Json& entry, std::string_view data) {
    const Json *dtype = entry.find("dtype"), *shape = entry.find("shape"),
               *offsets = entry.find("data_offsets");
    const auto refuse = [&](const std::string& why) { throw Refused("tensor '" + name + "' " + why); };
    if (!dtype || !shape || !offsets || entry.object.size() != 3 || dtype->kind != Json::Kind::text ||
        shape->kind != Json::Kind::list || offsets->kind != Json::Kind::list)
        refuse("has no dtype, shape and data_offsets, and these alone");
    FileTensor tensor{dtype->text, {}, {}};
    int64_t bytes = bytes_of(tensor.dtype);
    if (bytes == 0) refuse("has the dtype '" + tensor.dtype.substr(0, 32) + "', which is unknown");
    for (const Json& size : shape->list) {
        if (size.kind != Json::Kind::integer || size.integer < 0 ||
            __builtin_mul_overflow(bytes, size.integer, &bytes))
            refuse("has a shape that no memory holds");
        tensor.shape.push_back(size.integer);
    }
    const auto& ends = offsets->list;
    if (ends.size() != 2 || ends[0].kind != Json::Kind::integer || ends[1].kind != Json::Kind::integer)
        refuse("has data_offsets that are not two integers");
    const int64_t begin = ends[0].integer, end = ends[1].integer;
    if (begin < 0 || end < begin || static_cast<uint64_t>(end) > data.size())
        refuse("lies outside the file: it is truncated, or no safetensors file");
    if (end - begin != bytes) refuse("has another number of bytes than its shape says");
    tensor.bytes = data.substr(static_cast<size_t>(begin), static_cast<size_t>(bytes));
    return tensor;
}

// Every byte belongs to one tensor.
void check_filled(const TensorFile& file, std::string_view data) {
    std::vector<std::string_view> pieces;
    for (const auto& named : file.tensors) pieces.push_back(named.second.bytes);
    std::sort(pieces.begin(), pieces.end(), [](std::string_view a, std::string_view b) {
        return std::make_pair(a.data(), a.size()) < std::make_pair(b.data(), b.size());
    });
    const char* at = data.data();
    for (const std::string_view piece : pieces) {
        if (piece.data() != at) throw Refused("its tensors overlap or leave gaps between them");
        at += piece.size();
    }
    if (at != data.data() + data.size())
        throw Refused("it goes on behind its last tensor: something was appended, or its header is damaged");
}

}  // namespace

Mapped::Mapped(const char* path) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) refuse_system(path, "opened");
    struct stat found;
    const bool known = fstat(file, &found) == 0;
    if (!known || !S_ISREG(found.st_mode)) {
        close(file);
        throw Refused(std::string(path) + " is no file", GENFUSE_IO_ERROR);
    }
    size_ = static_cast<size_t>(found.st_size);
    data_ = size_ ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
    const int error = errno;
    close(file);
    errno = error;
    if (data_ == MAP_FAILED) refuse_system(path, "mapped");
}

Mapped::~Mapped() {
    if (data_) munmap(data_, size_);
}

int64_t bytes_of(std::string_view dtype) {
    if (dtype == "F64" || dtype == "I64") return 8;
    if (dtype == "F32" || dtype == "I32") return 4;
    if (dtype == "F16" || dtype == "BF16") return 2;
    return dtype == "U8" || dtype == "BOOL" ? 1 : 0;
}

TensorFile read_tensor_file(std::string_view bytes) {
    if (bytes.size() < kLengthBytes) throw Refused("it is too short for a header");
    uint64_t length = 0;
    for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    if (length > bytes.size() - kLengthBytes)
        throw Refused("its header is longer than the file: it is truncated, or no safetensors file");
    if (length > kMostHeader) throw Refused("its header is longer than 32 MiB");
    const Json header = Json::parse(bytes.substr(kLengthBytes, length));
    if (header.kind != Json::Kind::object) throw Refused("its header is no object");
    const std::string_view data = bytes.substr(kLengthBytes + length);
    TensorFile file;
    for (const Json::Member& entry : header.object) {
        if (entry.name == "__metadata__") {
            file.metadata = entry.value;
            for (const Json::Member& each : entry.value.object) {
                if (each.value.kind != Json::Kind::text) throw Refused("its metadata is not all text");
            }
        } else {
            file.tensors.emplace(entry.name, read_tensor(entry.name, entry.value, data));
        }
    }
    check_filled(file, data);
    return file;
}

}  // namespace genfuse
