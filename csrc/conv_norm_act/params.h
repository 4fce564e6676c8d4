/* The C interface of conv_norm_act. Plain C; kernels/genfuse_kernels/conv_norm_act/spec.py says what is
 * computed. */
#ifndef GENFUSE_CONV_NORM_ACT_PARAMS_H
#define GENFUSE_CONV_NORM_ACT_PARAMS_H

#include "common/activations.h"
#include "common/image.h"
#include "common/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    GENFUSE_PAD_ZEROS = 0,
    GENFUSE_PAD_REFLECT = 1,
    GENFUSE_PAD_CIRCULAR = 2,
} genfuse_padding_mode;

/* Where a normalisation's mean and variance come from. */
typedef enum {
    GENFUSE_NORM_NONE = 0,
    GENFUSE_NORM_GIVEN = 1, /* mean and variance of each channel: batch norm in inference */
    GENFUSE_NORM_BATCH = 2, /* over the batch and space, of each channel */
    GENFUSE_NORM_GROUP =
        3, /* over space and the channels of a group, of each sample: instance, group, layer */
    GENFUSE_NORM_PIXEL = 4, /* over the channels, of each sample's pixel */
} genfuse_norm;

typedef enum {
    GENFUSE_CONV_NONE = -1, /* no convolution: kernel 1 and as many channels out as in, without weights */
    GENFUSE_CONV_DIRECT = 0,
    GENFUSE_CONV_WINOGRAD = 1, /* the phases of a transposed convolution sharing one input transform */
    GENFUSE_CONV_PLANAR = 2,   /* by the definition, pixels in the lanes: at most 8 output channels a group */
    GENFUSE_CONV_DEPTHWISE =
        3, /* by the definition, each lane with inputs of its own: at most 8 input channels a group */
    GENFUSE_CONV_BATCHED =
        4, /* what a direct convolution becomes where most taps read the border: weights are direct's */
    GENFUSE_CONV_MATRIX = 5, /* by the definition, on the processor's matrix unit: of bfloat16 */
} genfuse_conv_algorithm;

/* What a convolution may be off by beyond the roundings of its dtype. */
typedef enum {
    GENFUSE_FAST = 0,  /* Winograd of the images' dtype */
    GENFUSE_EXACT = 1, /* none */
    GENFUSE_CLOSE = 2, /* Winograd of float32, whose error half precision's own rounding hides */
} genfuse_accuracy;

/* What decides the algorithm and how weights are packed. */
typedef struct {
    int32_t in_channels, out_channels, groups;
    int32_t kernel[2], stride[2], padding[2], dilation[2], output_padding[2]; /* height, width */
    int32_t
        extra_padding[2]; /* rows at the bottom and columns at the right beyond padding's, or fewer: < 0 */
    int32_t transposed;
    int32_t padding_mode; /* genfuse_padding_mode */
    int32_t upsample[2];  /* 1, or 2: the input's pixels are read twice along the axis */
    int32_t algorithm;    /* genfuse_conv_algorithm */
    int32_t tile; /* of Winograd: 4 for F(4x4, 3x3), 2 for F(2x2, 3x3), 6 for F(6x6, 3x3): that at stride 1,
                     of float32 */
    int32_t
        folded; /* of Winograd with upsample: a kernel of its own for each of the four pixels that read one */
    int32_t product; /* genfuse_dtype of the factors: float32, or bfloat16 with sums in float32 */
} genfuse_conv;

/* Normalisation, activation and dropout that the convolution applies while it reads. */
typedef struct {
    int32_t kind;    /* genfuse_norm */
    int32_t groups;  /* of GENFUSE_NORM_GROUP */
    int32_t centred; /* 0: the mean is not subtracted (RMS and pixel norm) */
    int32_t activation;
    float slope; /* of GENFUSE_LEAKY_RELU */
    double eps;
    const float* stats;      /* (N, C, 2): mean and variance over space; NULL: computed where needed */
    const float* mean;       /* (C,), of GENFUSE_NORM_GIVEN */
    const float* variance;   /* (C,) */
    const float* weight;     /* (C,), or (N, C) with weight_stride = C; NULL: 1 */
    const float* bias;       /* (C,), or (N, C) with weight_stride = C; NULL: 0 */
    const float* film_scale; /* (N, C): the result times (1 + film_scale) plus film_shift; NULL: neither */
    const float* film_shift;
    int64_t weight_stride, bias_stride; /* between samples: 0 or C */
    int64_t film_stride;                /* between samples */
    double dropout;       /* share of elements that become 0, in [0, 1); the others times 1/(1 - dropout) */
    const int64_t* seeds; /* (N,), where dropout > 0 */
    uint32_t dropout_stream; /* tells the masks of layers with the same seeds apart */
} genfuse_prologue;

typedef struct {
    const float* bias;  /* (K,) or NULL */
    const float* shift; /* (N, K) or NULL */
    int64_t shift_stride;
    genfuse_image residual;
    genfuse_image residual_skip; /* further channels behind residual's, with a projection; or absent */
    /* A 1x1 convolution of the residual to K channels: for each group of the unit's convolution and 16 of its
     * output channels (the last ones padded with zeros) the weights [input channel][16]; NULL: none. */
    const float* projection;
    float scale; /* of the sum of convolution, bias, shift and residual */
    int32_t activation;
    float slope;
    int32_t
        pool[2];  /* 1, or 2: pairs along the axis become their mean; a last odd row or column is dropped */
    float* stats; /* (N, K, 2): mean and variance over space of what is written, before rounding; or NULL */
} genfuse_epilogue;

/* (K, C/groups, kernel height, width), transposed (C, K/groups, ...), contiguous. */
typedef struct {
    const void* data;
    int32_t dtype; /* float32 or bfloat16 */
} genfuse_weight;

/* How a call is cut up; 0: by the kernel's own reckoning. No bit of the result depends on it. */
typedef struct {
    int32_t rows;   /* of a unit, a thread's piece of work: of pixels, or Winograd's of tiles */
    int32_t shared; /* Winograd: 1 all threads share one transformed input, -1 each unit has its own */
} genfuse_blocking;

typedef struct {
    int32_t dtype; /* of all images: float32, bfloat16 or float16 */
    int32_t threads;
    int64_t batch, height, width; /* of x and skip, before upsampling */
    genfuse_image x, skip;        /* skip: further channels behind x's, or absent */
    genfuse_prologue prologue;
    genfuse_conv conv;
    const float*
        packed; /* what genfuse_conv_pack made for this conv, on the instruction set in use; or NULL */
    genfuse_weight weight; /* then: as genfuse_conv_pack takes it, to be packed for this call alone */
    genfuse_epilogue epilogue;
    genfuse_image out;
    genfuse_blocking blocking;
} genfuse_conv_norm_act_args;

/* Height and width of the output. */
genfuse_status genfuse_conv_output(const genfuse_conv* conv, int64_t height, int64_t width, int64_t out[2],
                                   genfuse_message* message);

/* The kernels that the convolution has for images of this dtype and size, whatever their number: copies of it
 * with algorithm, tile, folded and product set. Returns how many; the first is the one to take where nothing
 * was measured: Winograd where the convolution has one and `accuracy` (genfuse_accuracy) admits it, with
 * tiles of 2 for small pictures and of 6 for large ones; products of bfloat16 where images are and the
 * instruction set in use has them, and beside these Winograd of float32 alone where it saves three products
 * of four. `plain`: the unit has neither dropout nor a projected residual, and pools both axes or none, as
 * planar and depthwise kernels want it. */
#define GENFUSE_CONV_MOST_WAYS 10
int32_t genfuse_conv_ways(const genfuse_conv* conv, int32_t dtype, int64_t height, int64_t width,
                          int32_t accuracy, int32_t plain, genfuse_conv ways[GENFUSE_CONV_MOST_WAYS]);

/* Floats that the packed weights take. */
genfuse_status genfuse_conv_packed_size(const genfuse_conv* conv, int64_t* floats, genfuse_message* message);

/* Packs the weight. */
genfuse_status genfuse_conv_pack(const genfuse_conv* conv, const genfuse_weight* weight, float* packed,
                                 int32_t threads, genfuse_message* message);

/* One unit. Any status but GENFUSE_OK has written nothing but the message. */
genfuse_status genfuse_conv_norm_act(const genfuse_conv_norm_act_args* args, genfuse_message* message);

#ifdef __cplusplus
}
#endif

#endif
