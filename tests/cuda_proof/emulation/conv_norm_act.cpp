// conv_norm_act's kernel on the host; `emulated.py` calls it.
#include "cuda.h"
// after it
#include "conv_norm_act/cuda.cu"

namespace {

using namespace genfuse;
using Run = void (*)(const void*);

template <class Stored, Order order, class Index, int Pixels, int Outputs, Precision precision>
void run(const void* arguments) {
    GENFUSE_DYNAMIC_SHARED(shared);
    Convolution<Stored, order, Index, Pixels, Outputs, precision>(
        *static_cast<const ConvArguments*>(arguments), shared)
        .run();
}

template <class Stored, class Index, int Pixels, int Outputs, Precision precision>
Run of_order(int order) {
    return order == kPlanes ? run<Stored, kPlanes, Index, Pixels, Outputs, precision>
                            : run<Stored, kChannelsLast, Index, Pixels, Outputs, precision>;
}

Run of_float(int order, int wide, int precision) {
    if (wide) return of_order<float, int64, 64, 64, kThreeProducts>(order);
    switch (precision) {
        case kOneProduct:
            return of_order<float, int, 64, 64, kOneProduct>(order);
        case kThreeProducts:
            return of_order<float, int, 64, 64, kThreeProducts>(order);
        default:
            return of_order<float, int, 64, 64, kFused>(order);
    }
}

template <class Stored>
Run of_half(int order, int pixels, int outputs) {
    if (pixels == 128) {
        return outputs == 128 ? of_order<Stored, int, 128, 128, kOneProduct>(order)
                              : of_order<Stored, int, 128, 64, kOneProduct>(order);
    }
    return outputs == 128 ? of_order<Stored, int, 64, 128, kOneProduct>(order)
                          : of_order<Stored, int, 64, 64, kOneProduct>(order);
}

}  // namespace

extern "C" size_t conv_norm_act_argument_bytes() {
    return sizeof(ConvArguments);
}

// `stored` in the order of `cuda_kernel.STORED`. What is not instantiated ends the process.
extern "C" void conv_norm_act(int stored, int order, int wide, unsigned blocks, unsigned threads,
                              int thread_order, const void* arguments, size_t shared, int pixels, int outputs,
                              int precision) {
    const Run kernel = stored == 0   ? of_float(order, wide, precision)
                       : stored == 2 ? of_half<bfloat16>(order, pixels, outputs)
                                     : of_half<float16>(order, pixels, outputs);
    emulation::launch(blocks, threads, static_cast<emulation::ThreadOrder>(thread_order), kernel, arguments,
                      shared);
}
