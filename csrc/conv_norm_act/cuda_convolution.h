// An implicit GEMM of a block's pixels by its outputs, sums over taps and inputs.
//
// Where a picture has few blocks its sums are several *segments* of the inputs, by its shape alone. One block
// adds them one after the other, or, where few pictures leave multiprocessors idle, each has a block of its
// own, and a second launch adds what these left in `partial`: in the same order, so that both ways give the
// same bits.
#pragma once

#include "common/cuda/shared.h"
#include "conv_norm_act/cuda_fragments.h"
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
    static constexpr bool kSegmented = Sizes::kPixels == kSegmentedPixels;

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
        if constexpr (!kSegmented) {
            add_segment(0);
        } else if (of_.folds) {
            fold<0>();
            fold<1>();
        } else {
            int segment = of_.partial ? static_cast<int>(blockIdx.x / static_cast<uint32>(of_.blocks)) : 0;
            while (true) {
                add_segment(segment);
                if (of_.partial) {
                    partial(blockIdx.x).take(product_);
                    return;
                }
                if (segment > 0) totals().add_to(product_);
                if (++segment == of_.segments) break;
                totals().take(product_);
            }
        }
        float* const sums = reinterpret_cast<float*>(shared_);
        product_.store(sums);
        __syncthreads();
        finish(block_, sums);
    }

  private:
    // Half of the block's sums: reads of all at once would crowd the sums out of the registers.
    template <int half>
    __device__ void fold() {
#pragma unroll 1
        for (int i = 0; i < of_.segments; ++i) {
            partial(i * of_.blocks + blockIdx.x).template add_to<2, half>(product_);
        }
    }

    __device__ Fragments<Sizes> totals() const { return {shared_ + of_.totals, 0}; }
    __device__ Fragments<Sizes> partial(int64 block) const { return {of_.partial, block}; }

    __device__ void add_segment(int segment) {
        for (int i = 0; i < of_.sources; ++i) {
            const ConvSource& source = of_.source[i];
            const int chunks = (static_cast<int>(source.inputs) + Sizes::kInputs - 1) / Sizes::kInputs,
                      first = segment * static_cast<int>(source.span);
            if (first < chunks) add(source, first, min(first + static_cast<int>(source.span), chunks));
        }
    }

    // The products of the source's chunks from `first` to before `end`.
    // One barrier a step: behind it all copies of the step have arrived and are activated, and nobody reads
    // those of the step before, whose room the copies that start then take.
    __device__ void add(const ConvSource& source, int first, int end) {
        Word* const ring = reinterpret_cast<Word*>(shared_);
        const Weights<Stored, Sizes> weights(of_, source, block_, ring);
        Word* const halos = ring + weights.kRing;
        HaloPixel* const pixels = reinterpret_cast<HaloPixel*>(
            halos + static_cast<int>(source.ring * of_.samples) * halo_pixels(source) * Sizes::kWords);
        const Halo<Stored, order, Index, Sizes> halo(of_, source, block_, pixels, halos);
        halo.find();
        product_.begin([&](int number) {
            ConvPixel pixel(of_, number);
            pixel.sample = pixel.sample < of_.samples ? pixel.sample : 0;
            return place_of(source, pixel);
        });
        __syncthreads();
        const int taps = static_cast<int>(source.rows.taps * source.columns.taps);
        const int steps = taps * (end - first);
        ConvStep next{0, 0, first};
        const auto start = [&](int step) {
            if (step < steps) {
                weights.copy(step, next);
                if (next.begins_chunk()) halo.copy(next.chunk);
                next.advance(source);
            }
            commit_copies();
        };
        for (int i = 0; i < kStages - 1; ++i) start(i);
        ConvStep now{0, 0, first};
        for (int step = 0; step < steps; ++step) {
            wait_for_copies<kStages - 2>();
            if (activates && now.begins_chunk()) halo.activate(now.chunk);
            __syncthreads();
            start(step + kStages - 1);
            product_.add(halo.tile(now.chunk), shift_of(source, now.row, now.column), weights.tile(step));
            now.advance(source);
        }
        __syncthreads();  // another source or segment, or the sums, take the room
    }
};

#ifdef GENFUSE_STORED
// Of a kernel of one instantiation. A thread has 128 registers, so that a multiprocessor holds sixteen warps;
// more, before they spill, where elements are moved one by one or offsets are of 64 bits; and where sums of
// half precision may have segments, whose totals leave no shared memory for sixteen.
struct Launched {
    static constexpr int kThreads = ConvTile<GENFUSE_STORED, GENFUSE_PIXELS, GENFUSE_OUTPUTS>::kThreads;
    static constexpr bool kNarrow = GENFUSE_ORDER == kChannelsLast && sizeof(GENFUSE_INDEX) == 4;
    static constexpr bool kSegmented = GENFUSE_PIXELS == kSegmentedPixels && sizeof(GENFUSE_STORED) < 4;
    static constexpr int kBlocks = (kNarrow ? kSegmented ? 384 : 512 : 256) / kThreads;
};
#endif

}  // namespace genfuse
