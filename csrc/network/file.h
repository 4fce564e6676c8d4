// A file of tensors in the safetensors format, mapped into memory.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "network/json.h"

namespace genfuse {

// The bytes of a file, readable as long as this lives; the file must not be shortened meanwhile.
class Mapped {
  public:
    explicit Mapped(const char* path);
    ~Mapped();
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;

    std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

  private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

struct FileTensor {
    std::string dtype;  // "F32", ...
    std::vector<int64_t> shape;
    std::string_view bytes;
};

struct TensorFile {
    std::map<std::string, FileTensor, std::less<>> tensors;
    Json metadata;  // texts by name
};

// What lies in these bytes. Refused, saying what is wrong, where they are no safetensors file, where tensors
// overlap, leave gaps or do not fill the file, and where a tensor's size is not that of its shape.
TensorFile read_tensor_file(std::string_view bytes);

// Bytes of an element of that dtype, 0 of one that is unknown.
int64_t bytes_of(std::string_view dtype);

}  // namespace genfuse
