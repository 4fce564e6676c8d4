// What a plan says of a kernel's call: its numbers, and the memory that it reaches. One description a call
// (describe.h) serves both the plan that is written and the plan that is read and checked.
#pragma once

#include <stdint.h>

#include <stdexcept>
#include <string>

#include "common/tensor.h"

namespace genfuse {

// Why a network is refused.
struct Refused : std::runtime_error {
    explicit Refused(const std::string& why, genfuse_status what = GENFUSE_BAD_FILE)
        : std::runtime_error(why), status(what) {}

    genfuse_status status;
};

// Numbers of a plan stay below these, so that sums and products of a few of them fit 64 bits.
constexpr int64_t kMostSize = int64_t{1} << 31, kMostStride = int64_t{1} << 40,
                  kMostChannels = int64_t{1} << 20;

// Bytes from an operand's first element to the end of its last one.
class Reach {
  public:
    explicit Reach(int64_t item) : item_(item) {}

    // An axis, its stride in items.
    Reach along(int64_t size, int64_t stride) const {
        Reach further = *this;
        further.last_ += static_cast<__int128>(size - 1) * stride;
        return further;
    }

    static Reach dense(int64_t item, int64_t count) { return Reach(item).along(count, 1); }

    // Where elements have to lie: at a multiple of this.
    int64_t alignment() const { return item_; }

    // More than any memory has, where it is more than 62 bits count.
    int64_t bytes() const {
        constexpr int64_t most = int64_t{1} << 62;
        const __int128 all = (last_ + 1) * item_;
        return all > most ? most : static_cast<int64_t>(all);
    }

  private:
    int64_t item_;
    __int128 last_ = 0;
};

enum class Access {
    reads,
    writes,
    writes_in_place,  // may be the very memory of an operand that is read
    packs,            // a weight: raw in the file, packed when it is loaded
};

// Who visits the fields of a call: to write them down, or to set them.
class Fields {
  public:
    virtual ~Fields() = default;

    virtual void number(const char* name, int64_t& value, int64_t least, int64_t most) = 0;
    virtual void real(const char* name, double& value) = 0;
    // An operand of so many elements of `item` bytes: what is written has memory for each of them.
    virtual void elements(const char*, __int128 /*count*/, int64_t /*item*/, const Reach&, Access) {}
    // `place` holds the pointer: to be read and set by memcpy, since it may point to anything.
    virtual void memory(const char* name, void* place, const Reach& reach, Access access, bool optional) = 0;

    void number(const char* name, int32_t& value, int64_t least, int64_t most) {
        int64_t wide = value;
        number(name, wide, least, most);
        value = static_cast<int32_t>(wide);
    }

    void real(const char* name, float& value) {
        double wide = value;
        real(name, wide);
        value = static_cast<float>(wide);
    }

    template <class T>
    void reads(const char* name, T*& data, const Reach& reach, bool optional = false) {
        visit(name, data, reach, Access::reads, optional);
    }

    template <class T>
    void writes(const char* name, T*& data, const Reach& reach, bool in_place = false) {
        visit(name, data, reach, in_place ? Access::writes_in_place : Access::writes, false);
    }

    template <class T>
    void visit(const char* name, T*& data, const Reach& reach, Access access, bool optional) {
        memory(name, const_cast<void*>(static_cast<const void*>(&data)), reach, access, optional);
    }
};

// Bytes of an element.
inline int64_t item_bytes(int32_t dtype) {
    return dtype == GENFUSE_FLOAT64 ? 8 : dtype == GENFUSE_FLOAT32 ? 4 : 2;
}

}  // namespace genfuse
