// The rows along the last axis of several tensors side by side.
#pragma once

#include <array>

#include "common/message.h"
#include "glue/params.h"

namespace genfuse {

// Of up to three tensors, by their strides in bytes; the last `inner` axes belong to the row.
class Walk {
  public:
    Walk(int32_t axes, const int64_t* size, int32_t inner,
         std::initializer_list<const genfuse_strided*> operands)
        : outer_(axes - inner), size_(size) {
        size_t i = 0;
        for (const genfuse_strided* operand : operands)
            stride_[i++] = operand->data ? operand->stride : kNone;
    }

    int64_t rows() const {
        int64_t rows = 1;
        for (int32_t axis = 0; axis < outer_; ++axis) rows *= size_[axis];
        return rows;
    }

    // run(offsets in bytes) for each row of [begin, end).
    template <class Run>
    void each(int64_t begin, int64_t end, Run run) const {
        std::array<int64_t, GENFUSE_GLUE_AXES> place{};
        int64_t offset[3] = {};
        int64_t left = begin;
        for (int32_t axis = outer_ - 1; axis >= 0; --axis) {
            place[axis] = left % size_[axis];
            left /= size_[axis];
            for (int i = 0; i < 3; ++i) offset[i] += place[axis] * stride_[i][axis];
        }
        for (int64_t row = begin; row < end; ++row) {
            run(offset);
            for (int32_t axis = outer_ - 1; axis >= 0; --axis) {
                for (int i = 0; i < 3; ++i) offset[i] += stride_[i][axis];
                if (++place[axis] < size_[axis]) break;
                for (int i = 0; i < 3; ++i) offset[i] -= size_[axis] * stride_[i][axis];
                place[axis] = 0;
            }
        }
    }

  private:
    static constexpr int64_t kNone[GENFUSE_GLUE_AXES] = {};
    const int32_t outer_;
    const int64_t* const size_;
    const int64_t* stride_[3] = {kNone, kNone, kNone};
};

// Whether axes and sizes can be worked with.
inline genfuse_status check_walk(int32_t axes, int32_t least, const int64_t* size, genfuse_message* message) {
    if (axes < least || axes > GENFUSE_GLUE_AXES) {
        return invalid(message, "axes are %d, expected %d to %d", axes, least, GENFUSE_GLUE_AXES);
    }
    for (int32_t axis = 0; axis < axes; ++axis) {
        if (size[axis] < 0) return invalid(message, "axis %d has a negative size, expected none", axis);
    }
    return GENFUSE_OK;
}

// How many elements they have.
inline int64_t elements_of(int32_t axes, const int64_t* size) {
    int64_t count = 1;
    for (int32_t axis = 0; axis < axes; ++axis) count *= size[axis];
    return count;
}

}  // namespace genfuse
