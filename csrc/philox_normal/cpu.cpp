// The kernel of philox_normal; compiled once for each instruction set.
#include "common/interleave.h"
#include "common/scratch.h"
#include "common/tile.h"
#include "philox_normal/job.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

template <class Stored>
void draw_tile(const NormalJob& job, const PhiloxKey& key, int64_t element, int64_t count, Stored* sample) {
    using T = typename Arithmetic<Stored>::type;
    T* const room = static_cast<T*>(thread_scratch());
    if (job.channels > 0) {
        const int64_t pixels = job.numel / job.channels;
        interleaved_normals(room, room + kTileRoom, job.channels, pixels, element / job.channels,
                            count / job.channels, key);
        narrow_run(room, count, sample + element);
        return;
    }
    if constexpr (sizeof(T) == sizeof(Stored)) {
        if (job.layout.dense() && count % kNormalGroup == 0) {
            normals(sample + element, element, count, key);
            return;
        }
    }
    scatter(normals(room, element, count, key), job.layout, element, count, sample);
}

template <class Stored>
void draw_units(const NormalJob& job, int64_t begin, int64_t end) {
    const genfuse_philox_normal_args& args = *job.args;
    PhiloxKey key{};
    int64_t keyed = -1;
    for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t n = unit / job.tiles;
        if (n != keyed) {
            const int64_t row = args.rows ? args.rows[n] : args.row;
            key = PhiloxKey(static_cast<uint64_t>(args.seeds[n]), static_cast<uint32_t>(row), args.stream);
            keyed = n;
        }
        const int64_t element = (unit - n * job.tiles) * job.tile;
        const int64_t count = job.numel - element < job.tile ? job.numel - element : job.tile;
        draw_tile(job, key, element, count, static_cast<Stored*>(args.out.data) + n * args.out.stride[0]);
    }
}

}  // namespace

void philox_normal_units(const NormalJob& job, int64_t begin, int64_t end) {
    switch (job.args->shape.dtype) {
        case GENFUSE_FLOAT32:
            return draw_units<float>(job, begin, end);
        case GENFUSE_FLOAT64:
            return draw_units<double>(job, begin, end);
        case GENFUSE_BFLOAT16:
            return draw_units<bfloat16>(job, begin, end);
        case GENFUSE_FLOAT16:
            return draw_units<float16>(job, begin, end);
    }
}

void philox_words_units(const WordsJob& job, int64_t, int64_t) {
    const PhiloxKey key(static_cast<uint64_t>(job.seed), job.row, job.stream);
    const u64 offsets = block_offsets();
    for (int64_t block = 0; block < job.blocks; block += 2 * kPhiloxBlocks) {
        PhiloxWords words[2];
        group_words(static_cast<uint64_t>(job.first_block + block), key, words);
        for (int i = 0; i < 2 * kPhiloxBlocks; ++i) {
            const int lane = i % kPhiloxBlocks, vector = i / kPhiloxBlocks;
            const int64_t place = block + vector * kPhiloxBlocks + static_cast<int64_t>(offsets[lane]);
            if (place >= job.blocks) continue;
            for (int w = 0; w < 4; ++w) {
                job.words[4 * place + w] = static_cast<uint32_t>(words[vector].word[w][lane]);
            }
        }
    }
}

}  // namespace GENFUSE_ISA
}  // namespace genfuse
