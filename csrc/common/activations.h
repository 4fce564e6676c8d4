/* Activation functions by number. Plain C. */
#ifndef GENFUSE_COMMON_ACTIVATIONS_H
#define GENFUSE_COMMON_ACTIVATIONS_H

typedef enum {
    GENFUSE_IDENTITY = 0,
    GENFUSE_RELU = 1,
    GENFUSE_LEAKY_RELU = 2,
    GENFUSE_SILU = 3,
    GENFUSE_GELU = 4, /* with the error function */
    GENFUSE_GELU_TANH = 5,
    GENFUSE_TANH = 6,
    GENFUSE_SIGMOID = 7,
    GENFUSE_SOFTPLUS = 8,
} genfuse_activation;
#define GENFUSE_ACTIVATIONS 9

#endif
