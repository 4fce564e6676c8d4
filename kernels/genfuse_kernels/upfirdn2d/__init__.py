"""`upfirdn2d`: upsample, pad or crop, filter and downsample images in one pass."""
