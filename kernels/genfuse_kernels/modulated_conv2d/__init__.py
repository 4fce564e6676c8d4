"""`modulated_conv2d`: a convolution whose weights each sample's style scales; made of other ops' kernels."""
