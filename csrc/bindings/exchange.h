// DLPack's C interface to tensors of Python (dlpack.h 1.x, `DLPackExchangeAPI`), as far as it is read here:
// what a tensor is in a tenth of the time that asking its attributes takes.
#pragma once

#include <stdint.h>

namespace genfuse {
namespace dlpack {

struct Version {
    uint32_t major, minor;
};

struct Tensor {
    void* data;
    struct {
        int32_t type, number;
    } device;
    int32_t axes;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t* sizes;
    int64_t* strides;
    uint64_t byte_offset;
};

struct Exchange {
    Version version;
    Exchange* older;
    void *allocate, *to_managed, *from_managed;
    int (*read)(void* object, Tensor* tensor);  // borrows; -1 with a Python error set
    void* stream;
};

constexpr int32_t kCpu = 1;
constexpr uint8_t kFloat = 2, kBfloat = 4;
constexpr const char* kExchangeName = "dlpack_exchange_api";

}  // namespace dlpack
}  // namespace genfuse
