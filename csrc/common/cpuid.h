// Which instruction set the kernels use.
#pragma once

namespace genfuse {

enum class Isa { baseline = 0, avx2 = 1, avx512 = 2 };
constexpr int kIsas = 3;

const char* isa_name(Isa isa);

// Whether it was compiled in, and processor and operating system have it.
bool isa_available(Isa isa);

// The one in use: the best available, unless `set_isa` said otherwise.
Isa current_isa();

// False, and no change, where it is not available.
bool set_isa(Isa isa);

}  // namespace genfuse
