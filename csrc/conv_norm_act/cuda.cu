// The kernel of conv_norm_act: an implicit GEMM of a block's pixels by its outputs, sums over taps and
// inputs; kernels/genfuse_kernels/conv_norm_act/spec.py says what is computed.
#include "common/cuda/shared.h"
#include "conv_norm_act/cuda_finish.h"
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

template <class Stored, Order order, class Index, int Pixels, int Outputs, Precision precision>
class Convolution {
    using Sizes = Tile<Stored, Pixels, Outputs>;
    using Word = Chunk<Stored>;

    const ConvArguments& of_;
    const ConvBlock block_;
    unsigned char* const shared_;
    typename ProductOf<Stored, Sizes, precision>::type product_;

  public:
    __device__ Convolution(const ConvArguments& of, unsigned char* shared)
        : of_(of), block_(of, Outputs), shared_(shared) {}

    __device__ void run() {
        for (int i = 0; i < of_.sources; ++i) add(of_.source[i]);
        float* const sums = reinterpret_cast<float*>(shared_);
        product_.store(sums);
        __syncthreads();
        Finish<Stored, order, Index, Sizes>(of_, block_, sums).run();
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
        product_.begin([&](int number) { return place(source, number, halo_pixels); });
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
            if (now.begins_chunk()) halo.activate(now.chunk);
            __syncthreads();
            start();
            product_.add(halo.tile(now.chunk), shift(source, now), weights.tile(step));
            now.advance(source);
        }
        __syncthreads();  // another source, or the sums, take the room
    }

    // Where the halo has what the block's pixel reads with tap 0.
    __device__ int place(const ConvSource& source, int number, int halo_pixels) const {
        const ConvPixel pixel(of_, number);
        const int sample = pixel.sample < of_.samples ? pixel.sample : 0;
        const int row =
            pixel.row * static_cast<int>(source.rows.stride) + static_cast<int>(source.rows.tap_first);
        const int column = pixel.column * static_cast<int>(source.columns.stride) +
                           static_cast<int>(source.columns.tap_first);
        return sample * halo_pixels + row * static_cast<int>(source.columns.halo) + column;
    }

    __device__ static int shift(const ConvSource& source, const ConvStep& step) {
        return step.row * static_cast<int>(source.rows.tap_step * source.columns.halo) +
               step.column * static_cast<int>(source.columns.tap_step);
    }
};

#ifdef GENFUSE_STORED
using Sizes = Tile<GENFUSE_STORED, GENFUSE_PIXELS, GENFUSE_OUTPUTS>;
// A thread has 128 registers, so that a multiprocessor holds sixteen warps; more, before they spill, where
// elements are moved one by one or offsets are of 64 bits.
constexpr int kBlocks =
    (GENFUSE_ORDER == kChannelsLast && sizeof(GENFUSE_INDEX) == 4 ? 512 : 256) / Sizes::kThreads;
#endif

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::Sizes::kThreads, genfuse::kBlocks)
    conv_norm_act(const __grid_constant__ genfuse::ConvArguments arguments) {
    using namespace genfuse;
    GENFUSE_DYNAMIC_SHARED(shared);
    Convolution<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX, GENFUSE_PIXELS, GENFUSE_OUTPUTS,
                GENFUSE_PRECISION>(arguments, shared)
        .run();
}
#endif
