// Strided matrices of any dtype into dense float32 panels of columns.
#pragma once

#include "common/half.h"
#include "common/transpose.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// A matrix in memory: element (row, column) at data[row·stride_row + column·stride_column].
template <class Stored>
struct Matrix {
    const Stored* data;
    int64_t stride_row, stride_column, rows, columns;
};

// Columns [first, first + lanes) of all rows, a vector each, to to[row·pitch]; columns beyond are zero.
template <class Stored>
void pack_lanes(const Matrix<Stored>& from, int64_t first, int64_t pitch, float* to) {
    constexpr int lanes = kLanes<float>;
    const Stored* const data = from.data + first * from.stride_column;
    const int64_t there = from.columns - first < lanes ? from.columns - first : lanes;
    if (from.stride_column == 1) {
        for (int64_t row = 0; row < from.rows; ++row) {
            store(to + row * pitch, widen_part(data + row * from.stride_row, there));
        }
        return;
    }
    int64_t row = 0;
    if (from.stride_row == 1) {
        for (; row + 1 < from.rows; row += lanes) {
            const int64_t some = from.rows - row < lanes ? from.rows - row : lanes;
            f32 block[lanes];
            for (int lane = 0; lane < lanes; ++lane) {
                block[lane] = lane < there ? widen_part(data + lane * from.stride_column + row, some) : f32{};
            }
            transpose(block);
            for (int i = 0; i < some; ++i) store(to + (row + i) * pitch, block[i]);
        }
    }
    for (; row < from.rows; ++row) {
        Stored one[lanes] = {};
        for (int64_t lane = 0; lane < there; ++lane) {
            one[lane] = data[lane * from.stride_column + row * from.stride_row];
        }
        store(to + row * pitch, widen(one));
    }
}

// [panel][row][column of the panel]: panels of `wide` columns, the last one as many, in blocks, as hold its
// columns. A block is whole vectors.
template <class Stored>
void pack_panels(const Matrix<Stored>& from, int64_t wide, int64_t block, float* to) {
    for (int64_t first = 0; first < from.columns; first += wide) {
        const int64_t left = (from.columns - first + block - 1) / block * block;
        const int64_t pitch = left < wide ? left : wide;
        for (int64_t column = 0; column < pitch; column += kLanes<float>) {
            if (first + column < from.columns) {
                pack_lanes(from, first + column, pitch, to + column);
            } else {
                for (int64_t row = 0; row < from.rows; ++row) store(to + row * pitch + column, f32{});
            }
        }
        to += from.rows * pitch;
    }
}

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
