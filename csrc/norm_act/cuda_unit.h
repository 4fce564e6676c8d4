// What norm_act does to the accesses of a thread; kernels/genfuse_kernels/norm_act/spec.py says what.
#pragma once

#include "common/cuda/activation.h"
#include "common/cuda/dropout.h"
#include "common/cuda/norm_table.h"
#include "common/cuda/stats.h"

namespace genfuse {

// As norm_act/cuda_impl.py fills it, eight bytes a field. The tile's positions are the output's.
struct NormActArguments {
    StatsArguments to;
    Operand out, x, residual;  // the last may be absent
    TableArguments table;
    DropoutArguments dropout;
    double slope, scale;
    int64 activation, out_activation;
    int64 positions, width, out_width, pool_h, pool_w;  // the first two of x
    Tile tile;
};

template <class Stored, Order order, class Index>
class Unit {
  public:
    using Of = Access<Stored, order>;
    using Elements = Packed<Stored, Of::numel>;

    const Spot<Stored, order, Index> spot;

    __device__ explicit Unit(const NormActArguments& arguments)
        : spot(arguments.tile),
          arguments_(arguments),
          norm_(arguments.table, spot.sample, spot.channel, spot.channel < spot.channels,
                arguments.positions) {}

    // The output of an access at `position` of x, which exists, from x, residual and mask.
    __device__ void make(const Elements& x, const Elements& residual, uint32 kept, Index position,
                         float (&value)[Of::numel]) const {
        const float slope = static_cast<float>(arguments_.slope),
                    scale = static_cast<float>(arguments_.scale);
        x.widen_to(value);
        norm_.normalise(position, value);
        activate(static_cast<int>(arguments_.activation), slope, value);
        if (arguments_.dropout.seeds) drop(arguments_.dropout, kept, value);
        float added[Of::numel] = {};
        if (arguments_.residual.data) residual.widen_to(added);
#pragma unroll
        for (int j = 0; j < Of::numel; ++j) value[j] = (value[j] + added[j]) * scale;
        activate(static_cast<int>(arguments_.out_activation), slope, value);
    }

  private:
    const NormActArguments& arguments_;
    const Normaliser<Of> norm_;
};

// Where no pixels are averaged: each image is read once. `measures`: with the statistics of the output.
template <bool measures, class Stored, Order order, class Index>
__device__ void norm_act(const NormActArguments& arguments, double* room) {
    using Of = Access<Stored, order>;
    using Elements = Packed<Stored, Of::numel>;
    const Unit<Stored, order, Index> unit(arguments);
    const auto& spot = unit.spot;
    Piece<Of::channels> piece;
    for (Index start = spot.begin; start < spot.end; start += spot.chunk) {
        uint32 kept = 0;
        if (arguments.dropout.seeds) {
            kept = Mask(arguments.dropout, spot.sample).of_chunk(spot, arguments.table.first_channel, start);
        }
#pragma unroll 1
        for (int first = 0; first < kAccesses; first += kAtOnce) {
            Elements x[kAtOnce], residual[kAtOnce] = {};
            spot.load(arguments.x, start, first, x);
            if (arguments.residual.data) spot.load(arguments.residual, start, first, residual);
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const Index position = spot.position(start, first + i);
                if (!spot.exists(position)) continue;
                float value[Of::numel];
                unit.make(x[i], residual[i], kept >> ((first + i) * Of::numel), position, value);
                store_packed(value, spot.address(arguments.out, position));
                if (measures) piece.add(value);
            }
        }
    }
    if (measures) store_moments(arguments.to, spot, piece, room);
}

}  // namespace genfuse
