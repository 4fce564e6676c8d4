// Which instruction set the kernels use.
#pragma once

namespace genfuse {

// avx512_bf16 is avx512's kernels, with products of bfloat16 where both factors are given in it; amx_bf16 is
// that with the matrix unit (common/amx.h).
enum class Isa { baseline = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3, amx_bf16 = 4 };
constexpr int kIsas = 5;

const char* isa_name(Isa isa);

// Whether it was compiled in, and processor and operating system have it.
bool isa_available(Isa isa);

// The one in use: the best available, unless `set_isa` said otherwise.
Isa current_isa();

// False, and no change, where it is not available.
bool set_isa(Isa isa);

}  // namespace genfuse
