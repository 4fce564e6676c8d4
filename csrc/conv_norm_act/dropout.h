// Dropout's masks: a function of seed, stream and the element's logical index, drawn again wherever they are
// needed.
#pragma once

#include <cmath>

#include "common/philox.h"
#include "common/runs.h"
#include "conv_norm_act/job.h"
#include "philox_normal/params.h"

namespace genfuse {
namespace GENFUSE_ISA {
namespace {

// The masks of a sample's channels [c, c + 16), a row at a time.
//
// Every 64-bit lane draws for a channel of its own, and the four words of its block are four pixels of that
// channel's row: what comes out is 16 channels of a pixel, as the pixels lie, and no word is drawn in vain.
class Dropout {
  public:
    Dropout(const ConvJob& job, int64_t n, int64_t c) : active_(job.args->prologue.dropout > 0) {
        if (!active_) return;
        const genfuse_conv_norm_act_args& args = *job.args;
        const genfuse_prologue& prologue = args.prologue;
        key_ = PhiloxKey(static_cast<uint64_t>(prologue.seeds[n]), prologue.dropout_stream,
                         GENFUSE_STREAM_DROPOUT);
        width_ = args.width;
        plane_ = args.height * args.width;
        first_ = static_cast<uint64_t>(c * plane_);
        // Kept where ((word >> 9) + ½)·2⁻²³ >= p, in integers.
        drops_ = static_cast<int32_t>(std::ceil(prologue.dropout * 8388608.0 - 0.5)) - 1;
        scale_ = broadcast<f32>(static_cast<float>(1 / (1 - prologue.dropout)));
        for (int lane = 0; lane < kBlockLanes; ++lane) {
            channel_[lane / kLanes<float>][lane % 2][lane % kLanes<float> / 2] =
                static_cast<uint64_t>(lane * plane_);
        }
    }

    // Row y: kept pixels times the scale, the others times zero, which leaves a NaN a NaN.
    void apply(int64_t y, float* pixels) const {
        if (!active_) return;
        const uint64_t row = first_ + static_cast<uint64_t>(y * width_);
        for (int part = 0; part < kParts; ++part) {
            // The channels' rows begin in the same place of a block, its first but for odd sizes.
            if (plane_ % 4 == 0 && row % 4 == 0) {
                apply_part<true>(row, part, pixels + part * kLanes<float>);
            } else {
                apply_part<false>(row, part, pixels + part * kLanes<float>);
            }
        }
    }

  private:
    // Four words a channel, of the blocks that `block` counts: even channels in [0], odd ones in [1].
    GENFUSE_INLINE void draw(const u64 (&block)[2], u32* words) const {
        PhiloxWords drawn[2];
        philox(block, key_, drawn);
        for (int i = 0; i < 4; ++i) words[i] = zip_words(drawn[0].word[i], drawn[1].word[i]);
    }

    template <bool aligned>
    void apply_part(uint64_t row, int part, float* pixels) const {
        u64 block[2], skip[2];  // words of a block that lie before the row
        for (int j = 0; j < 2; ++j) {
            const u64 element = load<u64>(channel_[part][j]) + row;
            block[j] = element >> 2;
            skip[j] = element & 3u;
        }
        const u32 skipped = zip_words(skip[0], skip[1]);
        const i32 by_one = reinterpret_cast<i32>((skipped & 1u) != 0u);
        const i32 by_two = reinterpret_cast<i32>((skipped & 2u) != 0u);
        u32 words[8];
        if (!aligned) draw(block, words);
        for (int64_t x = 0; x < width_; x += 4) {
            if (aligned) {
                draw(block, words);
                for (int j = 0; j < 2; ++j) block[j] += 1u;
            } else {
                for (int j = 0; j < 2; ++j) block[j] += 1u;
                draw(block, words + 4);
            }
            const int count = static_cast<int>(width_ - x < 4 ? width_ - x : 4);
            for (int i = 0; i < count; ++i) {
                const u32 word = aligned ? words[i]
                                         : pick(by_two, pick(by_one, words[i + 3], words[i + 2]),
                                                pick(by_one, words[i + 1], words[i]));
                const i32 kept = reinterpret_cast<i32>(word >> 9) > drops_;
                float* const at = pixels + (x + i) * kBlockLanes;
                store(at, load<f32>(at) * reinterpret_cast<f32>(kept & reinterpret_cast<i32>(scale_)));
            }
            if (!aligned) {
                for (int i = 0; i < 4; ++i) words[i] = words[i + 4];
            }
        }
    }

    // `yes` where the mask is set, else `no`.
    GENFUSE_INLINE static u32 pick(i32 mask, u32 yes, u32 no) {
        return (yes & reinterpret_cast<u32>(mask)) | (no & ~reinterpret_cast<u32>(mask));
    }

    const bool active_;
    PhiloxKey key_;
    int64_t width_, plane_;
    uint64_t first_;  // element of channel c
    int32_t drops_;   // the largest 23-bit number that is dropped
    f32 scale_;
    uint64_t channel_[kParts][2]
                     [kLanes<float> / 2];  // elements from channel c on, even channels and odd ones
};

}  // namespace
}  // namespace GENFUSE_ISA
}  // namespace genfuse
