// a·b + c, rounded once. The kernels are compiled without fusing on their own, so that each of their
// instantiations rounds alike.
#pragma once

namespace genfuse {

__device__ inline float fused(float a, float b, float c) {
    return fmaf(a, b, c);
}
__device__ inline double fused(double a, double b, double c) {
    return fma(a, b, c);
}

}  // namespace genfuse
