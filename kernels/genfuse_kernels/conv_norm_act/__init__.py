"""`conv_norm_act`: normalisation and activation while the convolution reads, the rest of the unit while it writes."""
