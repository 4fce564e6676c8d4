"""`spectral_norm`: weights over their largest singular values, all layers of a network in one call."""
