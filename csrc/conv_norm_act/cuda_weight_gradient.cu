// The gradient of a unit's weights: for each tap a GEMM of dense by gathered channels, whose sums run over
// the pixels of a span of tiles; cuda_fold_weights.cu adds the spans. Bias and shift have the sums of the
// dense channels alone, which the first of the blocks that stage a tile takes there.
#include "common/cuda/shared.h"
#include "common/cuda/tile.h"
#include "conv_norm_act/cuda_halo.h"
#include "conv_norm_act/cuda_made.h"
#include "conv_norm_act/cuda_weight_product.h"

namespace genfuse {

template <class Stored, class Tile, Precision precision>
struct WeightProductOf {
    using type = WeightProduct<Stored, Tile, precision>;
};
template <class Tile>
struct WeightProductOf<float, Tile, kFused> {
    using type = FusedWeightProduct<Tile>;
};

template <class Stored, Order order, class Index, class Tile, Precision precision>
class WeightGradient {
    using Word = Chunk<Stored>;
    using Pixels = Halo<Stored, order, Index, Tile>;

    const WeightGradientArguments& all_;
    const ConvArguments& of_;
    const ConvSource& gathered_;
    Word* const shared_;  // the first is zeros
    uint32 split_, outputs_;
    int chunk_, first_tap_;        // the block's first
    int moved_[Tile::kWarpUnits];  // by their taps, of the warp's units; −1: there is none
    typename WeightProductOf<Stored, Tile, precision>::type product_;

  public:
    __device__ WeightGradient(const WeightGradientArguments& all, unsigned char* shared)
        : all_(all), of_(all.of), gathered_(all.of.source[0]), shared_(reinterpret_cast<Word*>(shared)) {
        const uint32 of_units = static_cast<uint32>(all.tap_blocks * all.chunk_blocks);
        const uint32 blocks = static_cast<uint32>(of_.output_blocks) * of_units;
        const uint32 block = blockIdx.x % blocks, units = block % of_units;
        split_ = blockIdx.x / blocks;
        outputs_ = block / of_units;
        chunk_ = static_cast<int>(units / static_cast<uint32>(all.tap_blocks) * all.chunks);
        first_tap_ = static_cast<int>(units % static_cast<uint32>(all.tap_blocks) * all.taps);
#pragma unroll
        for (int u = 0; u < Tile::kWarpUnits; ++u) {
            const int taps = static_cast<int>(gathered_.columns.taps);
            const bool exists = unit(u).exists && tap(u) < gathered_.rows.taps * taps &&
                                (chunk_ + unit(u).chunk) * Tile::kInputs < gathered_.inputs;
            moved_[u] = exists ? shift_of(gathered_, tap(u) / taps, tap(u) % taps) : -1;
        }
    }

    // A tile is copied while the one before is multiplied. One barrier a tile: behind it the tile has arrived
    // and is activated, where the pixels of the next come from is known, and nobody reads the room it takes.
    __device__ void run() {
        const uint32 begin = split_ * static_cast<uint32>(all_.span);
        const uint32 end = min(begin + static_cast<uint32>(all_.span), static_cast<uint32>(all_.tiles));
        if (threadIdx.x == 0) shared_[0] = {};
        find(begin, 0);
        __syncthreads();
        copy(begin, 0);
        for (uint32 tile = begin; tile < end; ++tile) {
            const int stage = static_cast<int>((tile - begin) % 2);
            if (tile + 1 < end) find(tile + 1, 1 - stage);
            wait_for_copies<0>();
            activate(tile, stage);
            __syncthreads();
            if (tile + 1 < end) copy(tile + 1, 1 - stage);
            if (all_.sums && chunk_ == 0 && first_tap_ == 0) sum(tile, stage);
            multiply(tile, stage);
        }
        store();
    }

  private:
    __device__ WeightUnit unit(int u) const {
        return WeightUnit::of<Tile>(u, static_cast<int>(all_.taps), static_cast<int>(all_.chunks));
    }
    __device__ int tap(int u) const { return first_tap_ + unit(u).tap; }

    __device__ ConvBlock block(uint32 tile) const { return {of_, Tile::kOutputs, tile, outputs_}; }
    __device__ int count(int which) const { return halo_pixels(of_.source[which]); }
    __device__ int chunk_words(int which) const {
        return static_cast<int>(of_.samples) * count(which) * Tile::kWords;
    }

    // Of a stage: dense chunks, gathered ones, and where the pixels of either come from.
    __device__ Word* room(int stage, int which) const {
        const int dense = Tile::kDense * chunk_words(1),
                  gathered = static_cast<int>(all_.chunks) * chunk_words(0);
        return shared_ + 1 + stage * (dense + gathered) + (which ? 0 : dense);
    }
    __device__ HaloPixel* table(int stage, int which) const {
        HaloPixel* const first = reinterpret_cast<HaloPixel*>(room(2, 1));
        return first + stage * (count(0) + count(1)) + (which ? 0 : count(1));
    }

    // use(pixels, first chunk, chunks) of what is dense and what is gathered.
    template <class Use>
    __device__ void each(uint32 tile, int stage, Use use) const {
        const ConvBlock at = block(tile);
        use(Pixels(of_, of_.source[1], at, table(stage, 1), room(stage, 1)), at.output / Tile::kInputs,
            Tile::kDense);
        use(Pixels(of_, gathered_, at, table(stage, 0), room(stage, 0)), chunk_,
            static_cast<int>(all_.chunks));
    }

    __device__ void find(uint32 tile, int stage) const {
        each(tile, stage, [](const Pixels& pixels, int, int) { pixels.find(); });
    }
    __device__ void copy(uint32 tile, int stage) const {
        each(tile, stage, [](const Pixels& pixels, int first, int chunks) {
            for (int i = 0; i < chunks; ++i) pixels.copy(first + i);
        });
        commit_copies();
    }
    __device__ void activate(uint32 tile, int stage) const {
        each(tile, stage, [](const Pixels& pixels, int first, int chunks) {
            for (int i = 0; i < chunks; ++i) pixels.activate(first + i);
        });
    }

    __device__ void multiply(uint32 tile, int stage) {
        const ConvBlock at = block(tile);
        const MadePixels<Stored, order, Index> made(of_, at);
        const WeightOperands<Stored> operands{room(stage, 1), room(stage, 0), shared_, chunk_words(1),
                                              chunk_words(0)};
        const int pixels = static_cast<int>(of_.samples) << (of_.rows.tile + of_.columns.tile);
#pragma unroll 1
        for (int first = 0; first < pixels; first += Tile::kStep) {
            product_.add(
                operands, first,
                [&](int number) {
                    const ConvPixel pixel(of_, number);
                    return made.exists(pixel) ? place_of(gathered_, pixel) : -1;
                },
                [&](int u) { return moved_[u]; }, [&](int u) { return unit(u).chunk; });
        }
    }

    // A thread has a channel: every kWarpColumns-th pixel of it, or, where samples share the tile, every
    // kWarpColumns-th sample. So a sample's numbers are the same in every batch.
    __device__ void sum(uint32 tile, int stage) const {
        const ConvBlock at = block(tile);
        const int channel = static_cast<int>(threadIdx.x) % Tile::kOutputs;
        const int part = static_cast<int>(threadIdx.x) / Tile::kOutputs;
        const int samples = static_cast<int>(of_.samples), parts = samples > 1 ? 1 : Tile::kWarpColumns;
        const int pixels = 1 << (of_.rows.tile + of_.columns.tile);
        const Word* const chunk = room(stage, 1) + channel / Tile::kInputs * chunk_words(1);
        const int word = channel % Tile::kInputs / Tile::kEach;
        if (at.output + channel >= of_.outputs) return;
        float* const to = all_.sums + static_cast<int64>(tile) * parts * samples * of_.all_outputs +
                          at.group * of_.outputs + at.output + channel;
#pragma unroll 1
        for (int i = part; i < (parts > 1 ? parts : samples); i += Tile::kWarpColumns) {
            float total = 0;
#pragma unroll 4
            for (int pixel = parts > 1 ? i : 0; pixel < pixels; pixel += parts) {
                const int row = (parts > 1 ? 0 : i * pixels) + pixel;
                total += widen(chunk[swizzled(row, word)].element[channel % Tile::kEach]);
            }
            to[i * of_.all_outputs] = total;
        }
    }

    __device__ void store() const {
        const ConvBlock first = block(0);
        const int64 taps = gathered_.rows.taps * gathered_.columns.taps;
        const int left = static_cast<int>(of_.outputs) - first.output;
        float* const to =
            all_.partial +
            (split_ * of_.all_outputs + first.group * of_.outputs + first.output) * taps * all_.row;
        product_.each([&](int u, int output, int channel, float one, float other) {
            if (moved_[u] < 0 || output >= left) return;
            const int64 row = output * taps + tap(u);
            float* const at = to + row * all_.row + (chunk_ + unit(u).chunk) * Tile::kInputs + channel;
            *reinterpret_cast<Packed<float, 2>*>(at) = {one, other};
        });
    }
};

#ifdef GENFUSE_STORED
using Launched = WeightTile<GENFUSE_STORED, GENFUSE_ROWS, GENFUSE_COLUMNS, GENFUSE_UNITS>;
// One block a multiprocessor where elements are moved one by one or offsets are of 64 bits: two would spill.
constexpr int kBlocks = GENFUSE_ORDER == kChannelsLast && sizeof(GENFUSE_INDEX) == 4 ? 2 : 1;
#endif

}  // namespace genfuse

#ifdef GENFUSE_STORED
extern "C" __global__ void __launch_bounds__(genfuse::Launched::kThreads, genfuse::kBlocks)
    weight_gradient(const __grid_constant__ genfuse::WeightGradientArguments arguments) {
    using namespace genfuse;
    GENFUSE_DYNAMIC_SHARED(shared);
    WeightGradient<GENFUSE_STORED, GENFUSE_ORDER, GENFUSE_INDEX, Launched, GENFUSE_PRECISION>(arguments,
                                                                                              shared)
        .run();
}
#endif
