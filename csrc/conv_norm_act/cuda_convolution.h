// An implicit GEMM of a block's pixels by its outputs, sums over taps and inputs.
#pragma once

#include "common/cuda/shared.h"
#include "conv_norm_act/cuda_fused_product.h"
#include "conv_norm_act/cuda_halo.h"
#include "conv_norm_act/cuda_product.h"
#include "conv_norm_act/cuda_weights.h"

namespace genfuse {

template <class Stored, class Tile, Precision precision>
struct ProductOf {
    using type = Product<Stored, Tile, precision>;
};
template <class Tile>
struct ProductOf<float, Tile, kFused> {
    using type = FusedProduct<Tile>;
};

// `activates`: what is read is normalised and activated, where its source says so.
template <class Stored, Order order, class Index, int Pixels, int Outputs, Precision precision,
          bool activates>
class Convolution {
    using Word = Chunk<Stored>;

  public:
    using Sizes = ConvTile<Stored, Pixels, Outputs>;

  private:
    const ConvArguments& of_;
    const ConvBlock block_;
    unsigned char* const shared_;
    typename ProductOf<Stored, Sizes, precision>::type product_;

  public:
    __device__ Convolution(const ConvArguments& of, unsigned char* shared)
        : of_(of), block_(of, Outputs), shared_(shared) {}

    // finish(block, sums): what follows the sums, rows of Sizes::kSumsRow by the block's pixels.
    template <class Finish>
    __device__ void run(Finish finish) {
        for (int i = 0; i < of_.sources; ++i) add(of_.source[i]);
        float* const sums = reinterpret_cast<float*>(shared_);
        product_.store(sums);
        __syncthreads();
        finish(block_, sums);
    }

  private:
    // One barrier a step: behind it all copies of the step have arrived and are activated, and nobody reads
    // those of the step before, whose room the copies that start then take.
    __device__ void add(const ConvSource& source) {
        Word* const ring = reinterpret_cast<Word*>(shared_);
        const Weights<Stored, Sizes> weights(of_, source, block_, ring);
        Word* const halos = ring + weights.kRing;
        const int halo_pixels = static_cast<int>(source.rows.halo * source.columns.halo);
        HaloPixel* const pixels = reinterpret_cast<HaloPixel*>(
            halos + static_cast<int>(source.ring * of_.samples) * halo_pixels * Sizes::kWords);
        const Halo<Stored, order, Index, Sizes> halo(of_, source, block_, pixels, halos);
        halo.find();
        product_.begin([&](int number) {
            ConvPixel pixel(of_, number);
            pixel.sample = pixel.sample < of_.samples ? pixel.sample : 0;
            return place_of(source, pixel);
        });
        __syncthreads();
        const int taps = static_cast<int>(source.rows.taps * source.columns.taps);
        const int steps = taps * ((static_cast<int>(source.inputs) + Sizes::kInputs - 1) / Sizes::kInputs);
        ConvStep next;
        int started = 0;
        const auto start = [&] {
            if (started < steps) {
                weights.copy(started, next);
                if (next.begins_chunk()) halo.copy(next.chunk);
                next.advance(source);
            }
            ++started;
            commit_copies();
        };
        for (int i = 0; i < kStages - 1; ++i) start();
        ConvStep now;
        for (int step = 0; step < steps; ++step) {
            wait_for_copies<kStages - 2>();
            if (activates && now.begins_chunk()) halo.activate(now.chunk);
            __syncthreads();
            start();
            product_.add(halo.tile(now.chunk), shift_of(source, now.row, now.column), weights.tile(step));
            now.advance(source);
        }
        __syncthreads();  // another source, or the sums, take the room
    }
};

#ifdef GENFUSE_STORED
// Of a kernel of one instantiation. A thread has 128 registers, so that a multiprocessor holds sixteen warps;
// more, before they spill, where elements are moved one by one or offsets are of 64 bits.
struct Launched {
    static constexpr int kThreads = ConvTile<GENFUSE_STORED, GENFUSE_PIXELS, GENFUSE_OUTPUTS>::kThreads;
    static constexpr int kBlocks =
        (GENFUSE_ORDER == kChannelsLast && sizeof(GENFUSE_INDEX) == 4 ? 512 : 256) / kThreads;
};
#endif

}  // namespace genfuse
