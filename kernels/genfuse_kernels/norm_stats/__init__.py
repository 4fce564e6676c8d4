"""`norm_stats`: mean and variance over space, for the units that read them."""
