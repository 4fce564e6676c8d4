#include <algorithm>

#include "genfuse/philox_normal.h"
// genfuse: dtypes=float32 flags=-fno-math-errno

// Step 3: sixteen counters at a time, and polynomials in float32 in place of the library's functions, which
// no vector waits for. u and the turn are split as integers, so that the logarithm is accurate near 1 and no
// angle is reduced by rounding. What genfuse's own adds: products of Philox without shuffles, four normals
// that stand in order where they are made, two vectors in flight, every layout and dtype.

namespace {

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));

void draw(uint64_t seed, uint64_t block, uint32_t row, uint32_t stream, uint32_t (*w)[kLanes]) {
    uint32_t low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
    for (int l = 0; l < kLanes; ++l) {
        w[0][l] = static_cast<uint32_t>(block + static_cast<uint64_t>(l));
        w[1][l] = static_cast<uint32_t>((block + static_cast<uint64_t>(l)) >> 32);
        w[2][l] = row, w[3][l] = stream;
    }
    for (int round = 0; round < 10; ++round, low += 0x9E3779B9u, high += 0xBB67AE85u)
        for (int l = 0; l < kLanes; ++l) {
            const uint64_t a = static_cast<uint64_t>(0xD2511F53u) * w[0][l];
            const uint64_t b = static_cast<uint64_t>(0xCD9E8D57u) * w[2][l];
            w[0][l] = static_cast<uint32_t>(b >> 32) ^ w[1][l] ^ low;
            w[2][l] = static_cast<uint32_t>(a >> 32) ^ w[3][l] ^ high;
            w[1][l] = static_cast<uint32_t>(b), w[3][l] = static_cast<uint32_t>(a);
        }
}

template <int N>
Floats polynomial(Floats x, const float (&of)[N]) {
    Floats sum = Floats{} + of[N - 1];
    for (int i = N - 2; i >= 0; --i) sum = sum * x + of[i];
    return sum;
}

// sqrt(-2 ln u), u = t/2^24 with t = (w >> 8) | 1: t = 2^e·m, m near 1 (box_muller.h has the fit).
Floats radius(Words w) {
    static const float of[] = {-1.99999994f,  1.00000751f,  -0.66669212f,  0.499378139f,
                               -0.398266958f, 0.345564122f, -0.322524958f, 0.197907015f};
    const Floats t = __builtin_convertvector(reinterpret_cast<Ints>((w >> 8) | 1u), Floats);
    const Ints bits = reinterpret_cast<Ints>(t), e = (bits - 0x3F3504F3) >> 23;
    const Floats m = reinterpret_cast<Floats>(bits - (e << 23)) - 1.0f;
    Floats square = m * polynomial(m, of) - __builtin_convertvector(e - 24, Floats) * 1.38629436f;
    float roots[kLanes];
    memcpy(roots, &square, sizeof(roots));
    for (float& root : roots) root = sqrtf(root);
    memcpy(&square, roots, sizeof(roots));
    return square;
}

// cos and sin of 2πu: the nearest quarter turn from the two top bits, polynomials of the rest, swapped and
// signed by the quarter.
void turn(Words w, Floats* cosine, Floats* sine) {
    static const float of_sine[] = {6.28318529f, -41.3416626f, 81.5925429f, -75.4016127f};
    static const float of_cosine[] = {0.999999972f, -19.7391522f, 64.9212343f, -83.5918168f};
    const Words quarter = w + 0x20000000u;
    const Ints rest = reinterpret_cast<Ints>(((quarter & 0x3FFFFFFFu) >> 8) | 1u) - (1 << 21);
    const Floats r = __builtin_convertvector(rest, Floats) * 0x1p-24f, square = r * r;
    const Floats s = r * polynomial(square, of_sine), c = polynomial(square, of_cosine);
    const Ints odd = (quarter & 0x40000000u) != 0u;
    const Floats first = odd ? s : c, second = odd ? c : s;
    const Words of_first = (quarter + 0x40000000u) & 0x80000000u, of_second = quarter & 0x80000000u;
    *cosine = reinterpret_cast<Floats>(reinterpret_cast<Words>(first) ^ of_first);
    *sine = reinterpret_cast<Floats>(reinterpret_cast<Words>(second) ^ of_second);
}

}  // namespace

GENFUSE_KERNEL(args) {
    if (!genfuse::contiguous(args.out)) return "memory that is not contiguous";
    const int64_t samples = args.out.size[0], count = samples ? genfuse::numel(args.out) / samples : 0;
    const int64_t* seeds = static_cast<const int64_t*>(args.seeds.data);
    const int64_t pieces = (count + 4 * kLanes - 1) / (4 * kLanes);
    genfuse::parallel(args.threads, samples * pieces, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t n = i / pieces, first = i % pieces * 4 * kLanes;
            const int64_t row = args.row_of_sample ? args.row_of_sample[n] : args.row;
            uint32_t words[4][kLanes];
            draw(static_cast<uint64_t>(seeds[n * args.seeds.stride[0]]), static_cast<uint64_t>(first / 4),
                 static_cast<uint32_t>(row), static_cast<uint32_t>(args.stream), words);
            Words w[4];
            memcpy(w, words, sizeof(w));
            float made[4 * kLanes], apart[4][kLanes];
            for (int pair = 0; pair < 4; pair += 2) {
                const Floats length = radius(w[pair]);
                Floats cosine, sine;
                turn(w[pair + 1], &cosine, &sine);
                cosine *= length, sine *= length;
                memcpy(apart[pair], &cosine, sizeof(cosine));
                memcpy(apart[pair + 1], &sine, sizeof(sine));
            }
            for (int l = 0; l < kLanes; ++l)
                for (int k = 0; k < 4; ++k) made[4 * l + k] = apart[k][l];
            memcpy(static_cast<float*>(args.out.data) + n * count + first, made,
                   static_cast<size_t>(std::min<int64_t>(4 * kLanes, count - first)) * sizeof(float));
        }
    });
    return nullptr;
}
