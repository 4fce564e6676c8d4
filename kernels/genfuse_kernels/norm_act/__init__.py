"""`norm_act`: normalisation, activation and residual where no convolution follows."""
