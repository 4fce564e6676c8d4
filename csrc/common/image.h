/* Batches of images as the convolution kernels see them. Plain C. */
#ifndef GENFUSE_COMMON_IMAGE_H
#define GENFUSE_COMMON_IMAGE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Channels that lie together in the blocked layout. */
#define GENFUSE_CHANNEL_BLOCK 16

typedef enum {
    GENFUSE_PLANAR = 0,        /* (N, C, H, W): pixels of a row adjacent */
    GENFUSE_CHANNELS_LAST = 1, /* (N, H, W, C): channels of a pixel adjacent */
    GENFUSE_BLOCKED =
        2, /* (N, ceil(C/16), H, W, 16): 16 channels of a pixel adjacent, the last ones padded */
} genfuse_image_layout;

/* Strides are in elements. Element (n, c, h, w) lies at
 *   planar         n*stride_n + c*stride_c + h*stride_h + w          (stride_w = 1)
 *   channels last  n*stride_n + c + h*stride_h + w*stride_w
 *   blocked        n*stride_n + (c/16)*stride_c + h*stride_h + w*16 + c%16 */
typedef struct {
    void* data; /* NULL: absent */
    int32_t layout;
    int32_t channels;
    int64_t stride_n, stride_c, stride_h, stride_w;
} genfuse_image;

#ifdef __cplusplus
}
#endif

#endif
